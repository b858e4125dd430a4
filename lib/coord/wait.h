/* Waits and pulses: what a primitive asks the house to do for it later. */
#ifndef COORDD_COORD_WAIT_H
#define COORDD_COORD_WAIT_H

#include "coord/apply.h"

extern const struct primitive wait_primitive;

#endif
