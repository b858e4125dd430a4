/* A look at data.mdb before LMDB maps it: LMDB trusts every page number, and a page that the file does not
 * have any more would end the process by SIGBUS at its first touch. */
#ifndef COORDD_STORAGE_STATE_PAGES_H
#define COORDD_STORAGE_STATE_PAGES_H

enum state_pages {
    STATE_PAGES_WHOLE,
    STATE_PAGES_NO_META, /* it does not begin as the data file of LMDB 0.9 does */
    STATE_PAGES_CUT,     /* pages that the newest transaction needs are not there, or are no such pages */
    STATE_PAGES_UNREADABLE
};

/* Reads the first two pages; all of the file only when it ends before the last page ever used. (LMDB does not
 * write a page that it took and gave back in one transaction, so that alone is no damage.) */
enum state_pages state_pages_look(int file);

#endif
