/* Bit-serial matrix product: for each pair of bit planes AND and count. Two's complement on both sides.
   a: [a_bits][rows][words], w: [w_bits][columns][words], c: [rows][columns]. Built with -march=native it takes AVX-512 VPOPCNTDQ,
   else AVX2 nibble look-ups, else the scalar popcnt. */
#include <stddef.h>
#include <stdint.h>

#if defined(__AVX512VPOPCNTDQ__) && defined(__AVX512F__)
#include <immintrin.h>
const char *kernel_name(void) { return "avx512_vpopcntdq"; }
static inline int64_t and_count(const uint64_t *a, const uint64_t *w, size_t words) {
    __m512i sum = _mm512_setzero_si512();
    size_t k = 0;
    for (; k + 8 <= words; k += 8)
        sum = _mm512_add_epi64(sum, _mm512_popcnt_epi64(_mm512_and_si512(_mm512_loadu_si512(a + k), _mm512_loadu_si512(w + k))));
    int64_t total = _mm512_reduce_add_epi64(sum);
    for (; k < words; k++) total += __builtin_popcountll(a[k] & w[k]);
    return total;
}
#elif defined(__AVX2__)
#include <immintrin.h>
const char *kernel_name(void) { return "avx2_nibbles"; }
static inline int64_t and_count(const uint64_t *a, const uint64_t *w, size_t words) {
    const __m256i counts = _mm256_setr_epi8(0, 1, 1, 2, 1, 2, 2, 3, 1, 2, 2, 3, 2, 3, 3, 4, 0, 1, 1, 2, 1, 2, 2, 3, 1, 2, 2, 3, 2, 3, 3, 4);
    const __m256i low = _mm256_set1_epi8(15);
    __m256i sum = _mm256_setzero_si256();
    size_t k = 0;
    for (; k + 4 <= words; k += 4) {
        __m256i both = _mm256_and_si256(_mm256_loadu_si256((const __m256i *)(a + k)), _mm256_loadu_si256((const __m256i *)(w + k)));
        __m256i lower = _mm256_shuffle_epi8(counts, _mm256_and_si256(both, low));
        __m256i upper = _mm256_shuffle_epi8(counts, _mm256_and_si256(_mm256_srli_epi16(both, 4), low));
        sum = _mm256_add_epi64(sum, _mm256_sad_epu8(_mm256_add_epi8(lower, upper), _mm256_setzero_si256()));
    }
    int64_t parts[4], total = 0;
    _mm256_storeu_si256((__m256i *)parts, sum);
    for (int i = 0; i < 4; i++) total += parts[i];
    for (; k < words; k++) total += __builtin_popcountll(a[k] & w[k]);
    return total;
}
#else
const char *kernel_name(void) { return "scalar_popcnt"; }
static inline int64_t and_count(const uint64_t *a, const uint64_t *w, size_t words) {
    int64_t total = 0;
    for (size_t k = 0; k < words; k++) total += __builtin_popcountll(a[k] & w[k]);
    return total;
}
#endif

void gemm(const uint64_t *a, const uint64_t *w, int64_t *c, int a_bits, int w_bits, size_t rows, size_t columns, size_t words) {
    for (size_t m = 0; m < rows; m++)
        for (size_t n = 0; n < columns; n++) {
            int64_t total = 0;
            for (int i = 0; i < a_bits; i++)
                for (int j = 0; j < w_bits; j++) {
                    int64_t ones = and_count(a + ((size_t)i * rows + m) * words, w + ((size_t)j * columns + n) * words, words) << (i + j);
                    total += ((i == a_bits - 1) != (j == w_bits - 1)) ? -ones : ones;
                }
            c[m * columns + n] = total;
        }
}
