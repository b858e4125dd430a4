#include "tests/fuzz/fuzz.h"

#include "base/check.h"

#include <stdio.h>
#include <sys/stat.h>

static const char *seed_directory;
static unsigned seed_count;

static void write_seed(struct slice bytes)
{
    char path[4096];
    snprintf(path, sizeof path, "%s/seed-%03u", seed_directory, seed_count++);
    FILE *file = fopen(path, "we");
    if (!file || fwrite(bytes.data, 1, bytes.size, file) != bytes.size || fclose(file)) fatal("cannot write %s", path);
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    for (int i = 1; i < *argc && !seed_directory; i++) {
        struct stat facts;
        const char *argument = (*argv)[i];
        if (argument[0] != '-' && stat(argument, &facts) == 0 && S_ISDIR(facts.st_mode)) seed_directory = argument;
    }
    if (seed_directory) fuzz_seeds(write_seed);
    return 0;
}

uint8_t fuzz_byte(struct slice *from)
{
    if (!from->size) return 0;
    uint8_t byte = *from->data;
    *from = slice_skip(*from, 1);
    return byte;
}

uint16_t fuzz_short(struct slice *from)
{
    uint16_t high = fuzz_byte(from);
    return (uint16_t)(high << 8 | fuzz_byte(from));
}
