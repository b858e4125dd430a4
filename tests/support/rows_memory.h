/* Rows in memory: the same behaviour as the state in LMDB, for scripts, unit tests and the simulator. */
#ifndef COORDD_TESTS_ROWS_MEMORY_H
#define COORDD_TESTS_ROWS_MEMORY_H

#include "coord/rows.h"

struct rows *rows_memory_new(void);
struct rows *rows_memory_clone(const struct rows *rows);
void rows_memory_free(struct rows *rows);
size_t rows_memory_count(const struct rows *rows);

#endif
