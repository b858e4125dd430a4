/* The clocks and the randomness of the node. The simulator links its own. boottime_ms is in api/mailbox.h:
 * both threads measure with it. */
#ifndef COORDD_CLOCK_H
#define COORDD_CLOCK_H

#include <stdint.h>

uint64_t wallclock_ms(void);  /* since 1970; may jump */
uint64_t random_number(void); /* never 0 */

#endif
