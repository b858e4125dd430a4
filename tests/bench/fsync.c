/* The limit of a durable write: 200 bytes into a preallocated file, and fdatasync. fsync FILE COUNT */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static double now_us(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec * 1e6 + (double)now.tv_nsec / 1e3;
}

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

int main(int argc, char **argv)
{
    int count = argc == 3 ? atoi(argv[2]) : 0,
        file = argc == 3 ? open(argv[1], O_RDWR | O_CREAT | O_CLOEXEC, 0600) : -1;
    double *us = calloc((size_t)count + 1, sizeof *us);
    char bytes[200];
    memset(bytes, 'x', sizeof bytes);
    if (count < 1 || file < 0 || !us || posix_fallocate(file, 0, 8 << 20)) return 2;
    for (int i = 0; i < count; i++) {
        double start = now_us();
        if (pwrite(file, bytes, sizeof bytes, (off_t)i * 200) != 200 || fdatasync(file)) return 1;
        us[i] = now_us() - start;
    }
    qsort(us, (size_t)count, sizeof *us, ascending);
    printf("fdatasync: p50 %.0f p95 %.0f p99 %.0f us\n", us[count / 2], us[count * 95 / 100],
           us[count * 99 / 100]);
    free(us);
    unlink(argv[1]);
    return 0;
}
