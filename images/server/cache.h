/*
 * The whole document root in memory before the first request: every regular file below it, copied into one
 * anonymous memory file. Replies go out of it by sendfile at an offset, so thousands of files cost one descriptor
 * and no file system is touched while the server is measured.
 */
#ifndef USERVER_CACHE_H
#define USERVER_CACHE_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct cached_file {
    char *path; /* with a leading slash, relative to the document root */
    size_t path_length;
    off_t offset; /* in the memory file */
    size_t length;
    char *head, *head_closing; /* the reply's header, without and with `Connection: close` */
    size_t head_length, head_closing_length;
};

/* Reads all of `docroot`. Returns 0, or -1 with what went wrong in cache_error(). Symbolic links are not followed. */
int cache_open(const char *docroot);
const char *cache_error(void);
void cache_close(void);

/* The file of a decoded path, or NULL. Paths are compared byte for byte, so nothing outside the root can be named. */
const struct cached_file *cache_find(const char *path, size_t length);

int cache_descriptor(void);     /* the memory file, for sendfile */
const char *cache_bytes(void);  /* the memory file, mapped */
uint64_t cache_file_count(void);
uint64_t cache_byte_count(void); /* of the files' contents */

#endif
