/* cmocka and the headers it wants before it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

/* Under a sanitizer a step takes ten times as long: a third of the random lives is enough there, since all of
 * them run in the plain build. */
#ifndef RANDOM_LIVES
#ifdef __has_feature
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define RANDOM_LIVES(count) (((count) + 2) / 3)
#endif
#endif
#if !defined(RANDOM_LIVES) && (defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__))
#define RANDOM_LIVES(count) (((count) + 2) / 3)
#endif
#ifndef RANDOM_LIVES
#define RANDOM_LIVES(count) (count)
#endif
#endif
