/* What the fuzz targets share. Each is one file: the property that it throws bytes at, and its seeds. */
#ifndef COORDD_TESTS_FUZZ_H
#define COORDD_TESTS_FUZZ_H

#include "base/slice.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerInitialize(int *argc, char ***argv);

/* Defined by each target: calls `seed` with the inputs to start from. They are written into the first directory
 * on the command line before the fuzzer reads it. */
void fuzz_seeds(void (*seed)(struct slice bytes));

/* Choices out of the input; zeroes when it is used up. */
uint8_t fuzz_byte(struct slice *from);
uint16_t fuzz_short(struct slice *from);

#endif
