#define _GNU_SOURCE /* memfd_create, nftw */
#include "cache.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "http.h"
#include "memory.h"

#define PAGE 4096 /* each file starts a page, as on a disk: a small file is one fragment of one page */
#define DIRECTORY_DEPTH 32

static struct {
    int memory; /* the memory file */
    char *bytes;
    off_t end;
    struct cached_file *files;
    size_t count, room;
    const struct cached_file **slots; /* open addressing, a power of two, at most half full */
    size_t slot_count;
    uint64_t content_bytes;
    size_t root_length;
    uint64_t available; /* bytes of memory when the reading began */
    char error[512];
} cache = {.memory = -1};

static int failed(const char *what, const char *path)
{
    snprintf(cache.error, sizeof cache.error, "%s %s: %s", what, path, strerror(errno));
    return -1;
}

static uint64_t hash(const char *path, size_t length)
{
    uint64_t value = 14695981039346656037ull; /* FNV-1a */
    for (size_t i = 0; i < length; i++)
        value = (value ^ (unsigned char)path[i]) * 1099511628211ull;
    return value ^ value >> 32;
}

static int copy_into_memory(int from, const char *path, off_t length)
{
    static char buffer[1 << 16];
    off_t done = 0;
    while (done < length) {
        ssize_t got = read(from, buffer, sizeof buffer);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return failed("cannot read", path);
        if (got == 0 || got > length - done) {
            snprintf(cache.error, sizeof cache.error, "%s changed while it was read", path);
            return -1;
        }
        for (ssize_t put = 0; put < got;) {
            ssize_t wrote = pwrite(cache.memory, buffer + put, (size_t)(got - put), cache.end + done + put);
            if (wrote < 0)
                return failed("no memory to cache", path);
            put += wrote;
        }
        done += got;
    }
    return 0;
}

static const char *media_type(const char *path)
{
    static const struct {
        const char *ending, *type;
    } types[] = {{".html", "text/html"}, {".txt", "text/plain"}, {".css", "text/css"}, {".js", "text/javascript"}, {".png", "image/png"}};
    const char *dot = strrchr(path, '.');
    for (size_t i = 0; dot && i < sizeof types / sizeof *types; i++)
        if (strcmp(dot, types[i].ending) == 0)
            return types[i].type;
    return "application/octet-stream";
}

static int make_heads(struct cached_file *file)
{
    const char *format = "HTTP/1.1 200 OK\r\nServer: userver\r\nContent-Type: %s\r\nContent-Length: %zu\r\n%s\r\n";
    const char *type = media_type(file->path);
    int length = asprintf(&file->head, format, type, file->length, "");
    int closing = asprintf(&file->head_closing, format, type, file->length, "Connection: close\r\n");
    if (length < 0 || closing < 0)
        return -1;
    file->head_length = (size_t)length;
    file->head_closing_length = (size_t)closing;
    return 0;
}

static int add_file(const char *path, off_t length)
{
    if (cache.count == cache.room) {
        size_t room = cache.room ? 2 * cache.room : 64;
        struct cached_file *larger = realloc(cache.files, room * sizeof *larger);
        if (!larger)
            return failed("no memory to cache", path);
        cache.files = larger;
        cache.room = room;
    }
    struct cached_file *file = &cache.files[cache.count];
    memset(file, 0, sizeof *file);
    file->path = strdup(path + cache.root_length);
    if (!file->path)
        return failed("no memory to cache", path);
    cache.count++;
    file->path_length = strlen(file->path);
    file->offset = cache.end;
    file->length = (size_t)length;
    if (make_heads(file) != 0)
        return failed("no memory to cache", path);
    cache.content_bytes += (uint64_t)length;
    cache.end += (length + PAGE - 1) / PAGE * PAGE;
    return 0;
}

static int too_large(const char *path)
{
    snprintf(cache.error, sizeof cache.error, "the document root does not fit into memory: %llu MiB are free, and it has more up to %s",
             (unsigned long long)(cache.available >> 20), path);
    return -1;
}

static int visit(const char *path, const struct stat *status, int kind, struct FTW *place)
{
    (void)place;
    if (kind == FTW_DNR || kind == FTW_NS)
        return failed("cannot read", path);
    if (kind != FTW_F || !S_ISREG(status->st_mode))
        return 0;
    if (strlen(path + cache.root_length) > HTTP_PATH_ROOM) {
        snprintf(cache.error, sizeof cache.error, "path too long to be requested: %s", path);
        return -1;
    }
    if ((uint64_t)cache.end + (uint64_t)status->st_size > cache.available)
        return too_large(path);
    int from = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (from < 0)
        return failed("cannot open", path);
    int result = copy_into_memory(from, path, status->st_size);
    close(from);
    return result != 0 ? -1 : add_file(path, status->st_size);
}

static int make_index(void)
{
    cache.slot_count = 16;
    while (cache.slot_count < 2 * cache.count)
        cache.slot_count *= 2;
    cache.slots = calloc(cache.slot_count, sizeof *cache.slots);
    if (!cache.slots)
        return failed("no memory to index", "the document root");
    for (size_t i = 0; i < cache.count; i++) {
        size_t at = hash(cache.files[i].path, cache.files[i].path_length) & (cache.slot_count - 1);
        while (cache.slots[at])
            at = (at + 1) & (cache.slot_count - 1);
        cache.slots[at] = &cache.files[i];
    }
    return 0;
}

int cache_open(const char *docroot)
{
    struct stat status;
    if (stat(docroot, &status) != 0)
        return failed("document root", docroot);
    if (!S_ISDIR(status.st_mode)) {
        errno = ENOTDIR;
        return failed("document root", docroot);
    }
    char *root = realpath(docroot, NULL);
    if (!root)
        return failed("document root", docroot);
    cache.root_length = strcmp(root, "/") == 0 ? 0 : strlen(root);
    cache.available = memory_available();
    cache.memory = memfd_create("userver cache", MFD_CLOEXEC);
    int result = cache.memory < 0 ? failed("cannot make a memory file for", docroot) : nftw(root, visit, DIRECTORY_DEPTH, FTW_PHYS);
    if (result != 0 && !cache.error[0])
        failed("document root", docroot);
    free(root);
    if (result != 0 || make_index() != 0)
        return -1;
    if (ftruncate(cache.memory, cache.end) != 0)
        return failed("cannot size the memory file for", docroot);
    if (cache.end > 0) {
        cache.bytes = mmap(NULL, (size_t)cache.end, PROT_READ, MAP_SHARED, cache.memory, 0);
        if (cache.bytes == MAP_FAILED)
            return failed("cannot map the memory file for", docroot);
    }
    return 0;
}

const char *cache_error(void)
{
    return cache.error;
}

void cache_close(void)
{
    for (size_t i = 0; i < cache.count; i++) {
        free(cache.files[i].path);
        free(cache.files[i].head);
        free(cache.files[i].head_closing);
    }
    free(cache.files);
    free(cache.slots);
    if (cache.end > 0)
        munmap(cache.bytes, (size_t)cache.end);
    close(cache.memory);
}

const struct cached_file *cache_find(const char *path, size_t length)
{
    if (length > HTTP_PATH_ROOM)
        return NULL;
    for (size_t at = hash(path, length) & (cache.slot_count - 1); cache.slots[at]; at = (at + 1) & (cache.slot_count - 1)) {
        const struct cached_file *file = cache.slots[at];
        if (file->path_length == length && memcmp(file->path, path, length) == 0)
            return file;
    }
    return NULL;
}

int cache_descriptor(void)
{
    return cache.memory;
}

const char *cache_bytes(void)
{
    return cache.bytes;
}

uint64_t cache_file_count(void)
{
    return cache.count;
}

uint64_t cache_byte_count(void)
{
    return cache.content_bytes;
}
