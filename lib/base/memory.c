#include "base/memory.h"

#include "base/check.h"

void *memory_new(size_t size)
{
    void *memory = calloc(1, size ? size : 1);
    if (!memory) fatal("out of memory (%zu bytes)", size);
    return memory;
}

void *memory_resize(void *old, size_t size)
{
    void *memory = realloc(old, size ? size : 1);
    if (!memory) fatal("out of memory (%zu bytes)", size);
    return memory;
}
