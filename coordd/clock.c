#include "coordd/clock.h"

#include "base/check.h"

#include <sys/random.h>
#include <time.h>

uint64_t wallclock_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

uint64_t readclock_ms(void)
{
    return wallclock_ms();
}

uint64_t random_number(void)
{
    uint64_t number = 0;
    while (number == 0)
        if (getrandom(&number, sizeof number, 0) != sizeof number)
            fatal("the system gives no random numbers");
    return number;
}
