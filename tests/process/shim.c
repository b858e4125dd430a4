/* LD_PRELOAD for coordd: while the file named by SHIM_FAIL exists, fdatasync fails with EIO; while the one
 * named by SHIM_HANG exists, it does not return. */
#include <dlfcn.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int fdatasync(int file)
{
    static int (*real)(int);
    const char *fail = getenv("SHIM_FAIL"), *hang = getenv("SHIM_HANG");
    if (!real) {
        void *symbol = dlsym(RTLD_NEXT, "fdatasync");
        memcpy(&real, &symbol, sizeof real);
    }
    while (hang && access(hang, F_OK) == 0) usleep(20000);
    if (fail && access(fail, F_OK) == 0) {
        errno = EIO;
        return -1;
    }
    return real(file);
}
