/* What loadgen reads in a trace: for each batch a line "SESSION THINK_NS LENGTH", then its requests. */
#include <inttypes.h>
#include <stdio.h>

#include "session.h"

int main(int argc, char **argv)
{
    struct session_list list = {0};
    if (argc != 2)
        return 1;
    sessions_read_trace(&list, argv[1], "server");
    for (uint32_t i = 0; i < list.count; i++) {
        for (uint32_t j = 0; j < list.sessions[i].count; j++) {
            const struct batch *batch = &list.sessions[i].batches[j];
            printf("%" PRIu32 " %" PRIu64 " %" PRIu32 "\n", i, batch->think_ns, batch->length);
            fwrite(batch->text, 1, batch->length, stdout);
        }
    }
    sessions_free(&list);
    return 0;
}
