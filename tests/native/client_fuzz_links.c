/*
 * libFuzzer target for files of access links, built by test_client_fuzz.py. Besides memory errors: whatever is taken has shapes
 * that can be, gives each host a kind that exists, and whatever is refused says in which line.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "access_plan.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
    struct access_plan plan;
    char problem[1400] = "", *text = malloc(length + 1);
    memcpy(text, bytes, length);
    text[length] = '\0';
    if (!access_plan_parse(&plan, text, length, problem, sizeof problem)) {
        assert(problem[0] >= '0' && problem[0] <= '9' && strstr(problem, ": ") && !plan.kinds);
        free(text);
        return 0;
    }
    assert(plan.count > 0);
    for (uint32_t i = 0; i < plan.count; i++) {
        assert(plan.kinds[i].share > 0);
        for (int j = 0; j < LINK_DIRECTIONS; j++) {
            const struct shape *shape = &plan.kinds[i].shapes[j];
            assert(shape->jitter_ns <= shape->delay_ns && shape->loss >= 0 && shape->loss <= 1 && !(shape->bursts && shape->loss > 0));
            assert(shape->limit >= 1 && shape->correlation < 1);
        }
    }
    uint32_t *kinds = access_plan_assign(&plan, 100, 1);
    for (int i = 0; i < 100; i++)
        assert(kinds[i] < plan.count);
    free(kinds);
    access_plan_free(&plan);
    free(text);
    return 0;
}
