/* io_uring with multishot receives, which lose a reset that closely follows data: for the test that shows it. */
#define RECEIVE_MULTISHOT
#include "../../../images/server/mech/io_uring.c"
