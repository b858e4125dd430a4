/* The clocks and the randomness of the node. The simulator links its own. boottime_ms is in api/mailbox.h:
 * both threads measure with it. */
#ifndef COORDD_CLOCK_H
#define COORDD_CLOCK_H

#include <stdint.h>

uint64_t wallclock_ms(void); /* since 1970; may jump */
/* The present as reads show it, in ages and rates, while nothing is written. The simulator's is 0: its judge
 * works out every answer again from the rows as they were. */
uint64_t readclock_ms(void);
uint64_t random_number(void); /* never 0 */

#endif
