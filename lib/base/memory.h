/* Process memory. Running out of it is fatal: no caller has a plan without memory. Free with free(). */
#ifndef COORDD_BASE_MEMORY_H
#define COORDD_BASE_MEMORY_H

#include <stddef.h>
#include <stdlib.h>

void *memory_new(size_t size); /* zeroed */
void *memory_resize(void *old, size_t size);

#endif
