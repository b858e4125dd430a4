/* Assertions that stay on in production. A failed one means that a promise can no longer be kept: the process
 * says where and aborts; the cluster is the handler. */
#ifndef COORDD_BASE_CHECK_H
#define COORDD_BASE_CHECK_H

_Noreturn void check_failed(const char *file, int line, const char *condition);

/* Ends the process with one line on standard error. For what no caller can mend: damaged rows, no memory. */
_Noreturn void fatal(const char *format, ...) __attribute__((format(printf, 1, 2)));

#define CHECK(condition)                                                                                     \
    do {                                                                                                     \
        if (__builtin_expect(!(condition), 0)) check_failed(__FILE__, __LINE__, #condition);                 \
    } while (0)

#endif
