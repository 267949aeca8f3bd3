#include "tally.h"

static const char *const class_names[ERROR_CLASSES] = {
    [ERROR_CLIENT_TIMO] = "client_timo", [ERROR_SOCKET_TIMO] = "socket_timo",   [ERROR_CONNREFUSED] = "connrefused",
    [ERROR_CONNRESET] = "connreset",     [ERROR_FD_UNAVAIL] = "fd_unavail",     [ERROR_ADDRUNAVAIL] = "addrunavail",
    [ERROR_FTAB_FULL] = "ftab_full",     [ERROR_OTHER] = "other",
};

static const char *const reason_names[OTHER_REASONS] = {
    [OTHER_STATUS] = "status",         [OTHER_NOT_HTTP] = "not_http",
    [OTHER_EARLY_CLOSE] = "early_close", [OTHER_UNEXPECTED_DATA] = "unexpected_data",
    [OTHER_BODY] = "body",             [OTHER_INTERRUPTED] = "interrupted",
    [OTHER_ENGINE] = "engine",
};

enum error_class error_class_of(enum engine_error error)
{
    switch (error) {
    case ENGINE_REFUSED:
        return ERROR_CONNREFUSED;
    case ENGINE_RESET:
        return ERROR_CONNRESET;
    case ENGINE_TIMED_OUT:
        return ERROR_SOCKET_TIMO;
    case ENGINE_NO_DESCRIPTOR:
        return ERROR_FD_UNAVAIL;
    case ENGINE_NO_ADDRESS:
        return ERROR_ADDRUNAVAIL;
    case ENGINE_TABLE_FULL:
        return ERROR_FTAB_FULL;
    default:
        return ERROR_OTHER;
    }
}

uint64_t tally_errors(const struct tally *tally)
{
    uint64_t sum = 0;
    for (int i = 0; i < ERROR_CLASSES; i++)
        sum += tally->errors[i];
    return sum;
}

void tally_write_errors(struct json *json, const char *key, const struct tally *tally)
{
    json_object_open(json, key);
    for (int i = 0; i < ERROR_CLASSES; i++)
        json_uint(json, class_names[i], tally->errors[i]);
    json_object_close(json);
}

void other_reasons_write(struct json *json, const uint64_t reasons[OTHER_REASONS])
{
    json_object_open(json, "other_reasons");
    for (int i = 0; i < OTHER_REASONS; i++)
        json_uint(json, reason_names[i], reasons[i]);
    json_object_close(json);
}

void window_write(struct json *json, const struct window_tally *window, double seconds)
{
    json_object_open(json, "window");
    json_real(json, "seconds", seconds);
    json_uint(json, "intended", window->intended.attempted);
    json_uint(json, "started", window->started);
    json_uint(json, "completed", window->intended.completed);
    json_uint(json, "requests_wanted", window->wanted);
    json_uint(json, "requests", window->requests);
    json_uint(json, "replies", window->replies);
    tally_write_errors(json, "errors", &window->intended);
    json_uint(json, "bytes_received", window->bytes_received);
    json_real(json, "replies_per_s", (double)window->replies / seconds);
    json_real(json, "sent_per_s", (double)window->sent / seconds);
    json_uint(json, "max_burst", window->max_burst);
    json_uint(json, "cpu_us", window->cpu_ns / 1000);
    json_real(json, "open_mean", window->open.connection_ns / (seconds * 1e9));
    json_uint(json, "open_max", window->open.max);
    json_real(json, "established_mean", window->established.connection_ns / (seconds * 1e9));
    json_uint(json, "established_max", window->established.max);
    histogram_write(json, "response_ns", &window->response);
    histogram_write(json, "response_actual_ns", &window->response_actual);
    histogram_write(json, "connect_ns", &window->connect);
    histogram_write(json, "lateness_ns", &window->lateness);
    json_object_close(json);
}
