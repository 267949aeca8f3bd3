/* CRC-32 as in zlib and Ethernet (Python: zlib.crc32), to tell whether a body arrived as it was sent. */
#ifndef CLIENT_CRC32_H
#define CLIENT_CRC32_H

#include <stddef.h>
#include <stdint.h>

/* `crc` is 0 at first, then the last result. */
uint32_t crc32_add(uint32_t crc, const uint8_t *bytes, size_t length);

#endif
