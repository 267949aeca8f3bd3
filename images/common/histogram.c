#include "histogram.h"

size_t histogram_index(uint64_t value)
{
    if (value < (1u << HISTOGRAM_LINEAR_BITS))
        return (size_t)value;
    unsigned shift = 63u - (unsigned)__builtin_clzll(value) - (HISTOGRAM_LINEAR_BITS - 1);
    return (size_t)shift * HISTOGRAM_HALF + (size_t)(value >> shift);
}

uint64_t histogram_low(size_t index)
{
    if (index < (1u << HISTOGRAM_LINEAR_BITS))
        return index;
    size_t shift = index / HISTOGRAM_HALF - 1;
    return (uint64_t)(index - shift * HISTOGRAM_HALF) << shift;
}

void histogram_record(struct histogram *histogram, uint64_t value)
{
    histogram->buckets[histogram_index(value)]++;
    histogram->count++;
    histogram->sum += value;
    if (value > histogram->max)
        histogram->max = value;
}

uint64_t histogram_quantile(const struct histogram *histogram, double quantile)
{
    if (histogram->count == 0)
        return 0;
    double exact = quantile * (double)histogram->count;
    uint64_t rank = (uint64_t)exact;
    if ((double)rank < exact || rank == 0)
        rank++;
    uint64_t seen = 0;
    for (size_t i = 0; i < HISTOGRAM_BUCKETS; i++) {
        seen += histogram->buckets[i];
        if (seen < rank)
            continue;
        uint64_t low = histogram_low(i);
        uint64_t width = i + 1 < HISTOGRAM_BUCKETS ? histogram_low(i + 1) - low : 1;
        uint64_t middle = low + width / 2;
        return middle < histogram->max ? middle : histogram->max;
    }
    return histogram->max;
}

void histogram_write(struct json *json, const char *key, const struct histogram *histogram)
{
    json_object_open(json, key);
    json_uint(json, "count", histogram->count);
    json_uint(json, "max", histogram->max);
    json_uint(json, "sum", histogram->sum);
    json_array_open(json, "buckets");
    for (size_t i = 0; i < HISTOGRAM_BUCKETS; i++) {
        if (histogram->buckets[i] == 0)
            continue;
        json_array_open(json, NULL);
        json_uint(json, NULL, histogram_low(i));
        json_uint(json, NULL, histogram->buckets[i]);
        json_array_close(json);
    }
    json_array_close(json);
    json_object_close(json);
}

static uint64_t coarse_low(uint64_t value)
{
    if (value < 8)
        return value;
    unsigned step = 60u - (unsigned)__builtin_clzll(value); /* of the bucket's width, as a power of two */
    return value >> step << step;
}

void histogram_write_coarse(struct json *json, const char *key, const struct histogram *histogram)
{
    json_array_open(json, key);
    for (size_t i = 0; i < HISTOGRAM_BUCKETS;) {
        uint64_t low = coarse_low(histogram_low(i)), count = 0;
        for (; i < HISTOGRAM_BUCKETS && coarse_low(histogram_low(i)) == low; i++)
            count += histogram->buckets[i];
        if (count == 0)
            continue;
        json_array_open(json, NULL);
        json_uint(json, NULL, low);
        json_uint(json, NULL, count);
        json_array_close(json);
    }
    json_array_close(json);
}
