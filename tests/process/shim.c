/* LD_PRELOAD for coordd: while the file named by SHIM_FAIL exists, fdatasync and pwrite fail with EIO; while
 * the one named by SHIM_HANG exists, they do not return. SHIM_CALL names one of the two, if only that is
 * meant. */
#include <dlfcn.h>
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void find(const char *name, void *real)
{
    void *symbol = dlsym(RTLD_NEXT, name);
    memcpy(real, &symbol, sizeof symbol);
}

/* Returns after a hang, and tells whether the call fails. */
static bool hit(const char *call)
{
    const char *only = getenv("SHIM_CALL"), *fail = getenv("SHIM_FAIL"), *hang = getenv("SHIM_HANG");
    if (only && strcmp(only, call) != 0) return false;
    while (hang && access(hang, F_OK) == 0) usleep(20000);
    errno = EIO;
    return fail && access(fail, F_OK) == 0;
}

int fdatasync(int file)
{
    int (*real)(int);
    find("fdatasync", &real);
    return hit("fdatasync") ? -1 : real(file);
}

ssize_t pwrite(int file, const void *data, size_t size, off_t offset)
{
    ssize_t (*real)(int, const void *, size_t, off_t);
    find("pwrite", &real);
    return hit("pwrite") ? -1 : real(file, data, size, offset);
}

ssize_t pwrite64(int file, const void *data, size_t size, off64_t offset)
{
    ssize_t (*real)(int, const void *, size_t, off64_t);
    find("pwrite64", &real);
    return hit("pwrite") ? -1 : real(file, data, size, offset);
}
