/* CRC-32C (Castagnoli, RFC 3720 appendix B.4): crc32c(0, "123456789", 9) == 0xe3069283.
 * Pass an earlier result as `crc` to go on where it ended. */
#ifndef COORDD_BASE_CRC32C_H
#define COORDD_BASE_CRC32C_H

#include <stddef.h>
#include <stdint.h>

uint32_t crc32c(uint32_t crc, const void *data, size_t size);

#endif
