/*
 * libFuzzer target for the frame parser, built by test_client_fuzz.py. Besides memory errors: what is accepted lies inside the
 * frame, and a frame that we build is understood as what it was built from.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "engine/packet_frame.h"

static void round_trip(const uint8_t *bytes, size_t length)
{
    struct frame_path path = {.target = 0x0a630001, .port = 8080};
    struct frame_fields fields = {.host = 0x0a4d4001, .port = 1024, .payload = bytes, .length = (uint32_t)(length > 1400 ? 1400 : length)};
    if (length >= 12) {
        memcpy(&fields.sequence, bytes, 4);
        memcpy(&fields.acknowledged, bytes + 4, 4);
        memcpy(&fields.window, bytes + 8, 2);
        fields.flags = bytes[10] & 63;
        fields.window_shift = bytes[11] & 7;
        fields.mss = 1460;
    }
    uint8_t *frame = malloc(frame_size(&fields)); /* of exactly this size: a byte beyond it is an error */
    frame_build(frame, &path, &fields);
    struct segment segment;
    assert(frame_parse(frame, frame_size(&fields), false, &segment) == FRAME_SEGMENT);
    assert(segment.peer_address == fields.host && segment.host == path.target && segment.peer_port == fields.port && segment.port == path.port);
    assert(segment.sequence == fields.sequence && segment.acknowledged == fields.acknowledged && segment.window == fields.window);
    assert(segment.flags == fields.flags && segment.length == fields.length);
    assert(!fields.length || memcmp(segment.payload, bytes, fields.length) == 0);
    assert(!(fields.flags & TCP_SYN) || (segment.mss == 1460 && segment.window_shift == fields.window_shift));
    frame[frame_size(&fields) - 1] ^= 0x10;
    assert(frame_parse(frame, frame_size(&fields), false, &segment) != FRAME_SEGMENT);
    free(frame);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
    uint8_t *frame = malloc(length ? length : 1);
    memcpy(frame, bytes, length);
    struct segment segment;
    for (int known = 0; known < 2; known++)
        if (frame_parse(frame, length, known, &segment) == FRAME_SEGMENT)
            assert(segment.payload >= frame && segment.payload + segment.length <= frame + length && segment.window_shift <= 14);
    free(frame);
    round_trip(bytes, length);
    return 0;
}
