// Products of few rows with weights in 4, 8 and 16 bits, and whole decoder layers made of them.
//
// Compiled on demand by kernel.py, once for each instruction set. Nothing here depends on how many rows come
// together: every number of a row is made by the same operations in the same order, whatever else is computed.
//
// Weights lie in tiles of 16 outputs. Of int8 and int4, a tile is a sequence of groups of 32 inputs, a group
// 8 steps of 4 inputs, a step 16 outputs x 4 bytes; codes are unsigned (stored number + 128, or + 8). In 4 bits
// byte i of 256 holds the codes at i (low half) and 256 + i. Of bf16, a tile is a sequence of pairs of inputs,
// 16 outputs x 2. Activations are quantised to 8 bits in the same groups.

#include <cmath>
#include <cstdint>
#include <cstring>
#include <cstdlib>
#if defined(__AVX2__) || defined(__AVX512F__)
#include <immintrin.h>
#endif
#if defined(__linux__)
#include <sys/mman.h>
#endif
#include "crew.h"

#define INLINE static inline __attribute__((always_inline))

enum { BF16 = 0, INT8 = 1, INT4 = 2 };
enum { TILE = 16, GROUP = 32, PANEL_BYTES = 1 << 18, MOST_ROWS = 8, RUNS = 4 };

extern "C" {

struct Matrix {
    const uint8_t* codes;
    const uint16_t* scales;  // bf16 [tiles][groups][16]; null for bf16 weights
    const float* bias;       // [outs], or null
    int64_t kind, outs, ins, tiles, groups;
};

struct Layer {
    Matrix qkv, out, gate_up, down;
    const float* norm1;
    const float* norm2;
    double eps1, eps2, scaling;
    int64_t width, heads, kv_heads, head_dim, hidden;
};

struct Pass {
    const void* input;  // [rows][width]
    void* output;       // the same; may be the input
    int64_t is_bf16;    // of input, output, cos and sin
    int64_t rows, singles;
    const void* cos;    // [rows][head_dim]
    const void* sin;
    const int64_t* places;  // of the new keys, [rows]
    const int64_t* starts;  // of the keys that a row of the first `singles` sees
    const int64_t* counts;
    void* keys;  // [kv_heads][memory][head_dim]
    void* values;
    int64_t memory, keys_bf16;
    float* query;     // [rows][heads * head_dim]
    float* attended;  // the same
    int64_t threads, stage;  // 0 the whole layer, 1 up to attention of the singles, 2 behind attention
};

}  // extern "C"

// ---- numbers

INLINE float from_bf16(uint16_t x) {
    uint32_t bits = uint32_t(x) << 16;
    float y;
    memcpy(&y, &bits, 4);
    return y;
}

INLINE uint16_t to_bf16(float x) {  // to the nearest, ties to even; what is no number stays none
    uint32_t bits;
    memcpy(&bits, &x, 4);
    if ((bits & 0x7fffffff) > 0x7f800000) return uint16_t((bits >> 16) | 64);
    return uint16_t((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
}

INLINE float fast_exp(float x) {  // a polynomial that compilers vectorise; 2 units in the last place
    x = x < -87.0f ? -87.0f : (x > 88.0f ? 88.0f : x);
    float n = std::floor(x * 1.44269504088896341f + 0.5f);
    float r = x - n * 0.693359375f - n * -2.12194440e-4f;
    float p = 1.9875691500e-4f;
    p = p * r + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    p = p * r * r + r + 1.0f;
    int32_t bits = (int32_t(n) + 127) << 23;
    float two;
    memcpy(&two, &bits, 4);
    return p * two;
}

static void load_row(const void* from, int64_t is_bf16, int64_t row, int64_t n, float* to) {
    if (is_bf16) {
        const uint16_t* x = (const uint16_t*)from + row * n;
        for (int64_t i = 0; i < n; i++) to[i] = from_bf16(x[i]);
    } else {
        memcpy(to, (const float*)from + row * n, n * sizeof(float));
    }
}

static void store(void* to, int64_t is_bf16, int64_t at, int64_t n, const float* from) {
    if (is_bf16) {
        uint16_t* y = (uint16_t*)to + at;
        for (int64_t i = 0; i < n; i++) y[i] = to_bf16(from[i]);
    } else {
        memcpy((float*)to + at, from, n * sizeof(float));
    }
}

// 16 numbers as bf16.
INLINE void store_tile(uint16_t* to, const float* from) {
#if defined(__AVX512BF16__)
    const __m256bh half = _mm512_cvtneps_pbh(_mm512_loadu_ps(from));  // ties to even, as to_bf16
    memcpy(to, &half, sizeof half);
#else
    for (int i = 0; i < TILE; i++) to[i] = to_bf16(from[i]);
#endif
}

// ---- activations

struct Acts {
    int64_t kind, ins, groups;  // groups of 32 inputs, the last one filled up with zeros
    int8_t* codes;              // of int8 and int4: [rows][groups * 32]
    float* scales;              // [rows][groups]
    int32_t* start;             // [rows][groups]: what sums begin with, for the codes' offset
    uint16_t* half;             // of bf16 with AVX-512 BF16: [rows][groups * 32]
    float* full;                // of bf16 without
};

#if defined(__AVX512VNNI__) || !defined(__AVX2__)
enum { OFFSET8 = 128 };
#else
enum { OFFSET8 = 0 };  // AVX2 takes the sign out by itself
#endif

INLINE void put_group(const Acts& a, int64_t row, int64_t g, const float* x) {
    int64_t at = row * a.groups + g;
    if (a.kind == BF16) {
#if defined(__AVX512BF16__)
        for (int i = 0; i < GROUP; i++) a.half[at * GROUP + i] = to_bf16(x[i]);
#else
        memcpy(a.full + at * GROUP, x, GROUP * sizeof(float));
#endif
        return;
    }
    float most = 0;
    for (int i = 0; i < GROUP; i++) most = std::fabs(x[i]) > most ? std::fabs(x[i]) : most;
    float scale = most / 127.0f, inverse = most > 1e-30f ? 127.0f / most : 0.0f;
    int32_t sum = 0;
    int8_t* codes = a.codes + at * GROUP;
    for (int i = 0; i < GROUP; i++) {
        float shifted = x[i] * inverse + 12582912.0f;  // the nearest integer, in the low bits
        int32_t bits;
        memcpy(&bits, &shifted, 4);
        int32_t code = bits - 0x4b400000;
        codes[i] = int8_t(code);
        sum += code;
    }
    a.scales[at] = most > 1e-30f ? scale : 0.0f;
    a.start[at] = -sum * (a.kind == INT4 ? 8 : int(OFFSET8));
}

static void put_row(const Acts& a, int64_t row, const float* x) {
    int64_t whole = a.ins / GROUP;
    for (int64_t g = 0; g < whole; g++) put_group(a, row, g, x + g * GROUP);
    if (whole < a.groups) {
        float last[GROUP] = {0};
        for (int64_t i = whole * GROUP; i < a.ins; i++) last[i - whole * GROUP] = x[i];
        put_group(a, row, whole, last);
    }
}

// ---- tiles: out[r][16] of rows row .. row + R

template <int KIND, int R>
INLINE void tile_of_codes(const Matrix& m, const Acts& a, int64_t tile, int64_t row, float* out) {
    const int64_t groups = m.groups;
    const uint8_t* w = m.codes + tile * groups * (KIND == INT4 ? 256 : 512);
    const uint16_t* ws = m.scales + tile * groups * TILE;
    const int8_t* x = a.codes + row * groups * GROUP;
    const float* xs = a.scales + row * groups;
    const int32_t* x0 = a.start + row * groups;
#if defined(__AVX512VNNI__)
    __m512 sum[R];
    for (int r = 0; r < R; r++) sum[r] = _mm512_setzero_ps();
    const __m512i low = _mm512_set1_epi8(15);
    for (int64_t g = 0; g < groups; g++) {
        __m512i c[8];
        if (KIND == INT4) {
            _mm_prefetch((const char*)w + 2048, _MM_HINT_T0);
            _mm_prefetch((const char*)w + 2112, _MM_HINT_T0);
            _mm_prefetch((const char*)w + 2176, _MM_HINT_T0);
            _mm_prefetch((const char*)w + 2240, _MM_HINT_T0);
            for (int j = 0; j < 4; j++) {
                __m512i both = _mm512_loadu_si512(w + j * 64);
                c[j] = _mm512_and_si512(both, low);
                c[j + 4] = _mm512_and_si512(_mm512_srli_epi16(both, 4), low);
            }
            w += 256;
        } else {
            for (int j = 0; j < 8; j++) {
                _mm_prefetch((const char*)w + 2048 + j * 64, _MM_HINT_T0);
                c[j] = _mm512_loadu_si512(w + j * 64);
            }
            w += 512;
        }
        __m256i raw = _mm256_loadu_si256((const __m256i*)(ws + g * TILE));
        __m512 scale = _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(raw), 16));
        for (int r = 0; r < R; r++) {
            __m512i dots = _mm512_set1_epi32(x0[r * groups + g]);
            const int8_t* xr = x + (r * groups + g) * GROUP;
            for (int j = 0; j < 8; j++) {
                int32_t four;
                memcpy(&four, xr + j * 4, 4);
                dots = _mm512_dpbusd_epi32(dots, c[j], _mm512_set1_epi32(four));
            }
            __m512 both = _mm512_mul_ps(scale, _mm512_set1_ps(xs[r * groups + g]));
            sum[r] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(dots), both, sum[r]);
        }
    }
    for (int r = 0; r < R; r++) _mm512_storeu_ps(out + r * TILE, sum[r]);
#elif defined(__AVX2__)
    __m256 sum[R][2];
    for (int r = 0; r < R; r++) sum[r][0] = sum[r][1] = _mm256_setzero_ps();
    const __m256i low = _mm256_set1_epi8(15), ones = _mm256_set1_epi16(1);
    const __m256i flip = _mm256_set1_epi8(-128);
    for (int64_t g = 0; g < groups; g++) {
        for (int half = 0; half < 2; half++) {
            __m128i raw = _mm_loadu_si128((const __m128i*)(ws + g * TILE + half * 8));
            __m256 scale = _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(raw), 16));
            __m256i c[8], sign[8];
            for (int j = 0; j < 8; j++) {
                if (KIND == INT4) {
                    __m256i both = _mm256_loadu_si256((const __m256i*)(w + (j & 3) * 64 + half * 32));
                    c[j] = _mm256_and_si256(j < 4 ? both : _mm256_srli_epi16(both, 4), low);
                } else {
                    __m256i code = _mm256_loadu_si256((const __m256i*)(w + j * 64 + half * 32));
                    sign[j] = _mm256_xor_si256(code, flip);
                    c[j] = _mm256_abs_epi8(sign[j]);
                }
            }
            for (int r = 0; r < R; r++) {
                __m256i dots = _mm256_set1_epi32(x0[r * groups + g]);
                const int8_t* xr = x + (r * groups + g) * GROUP;
                for (int j = 0; j < 8; j++) {
                    int32_t four;
                    memcpy(&four, xr + j * 4, 4);
                    __m256i xj = _mm256_set1_epi32(four);
                    if (KIND == INT8) xj = _mm256_sign_epi8(xj, sign[j]);
                    dots = _mm256_add_epi32(dots, _mm256_madd_epi16(_mm256_maddubs_epi16(c[j], xj), ones));
                }
                __m256 both = _mm256_mul_ps(scale, _mm256_set1_ps(xs[r * groups + g]));
                sum[r][half] = _mm256_fmadd_ps(_mm256_cvtepi32_ps(dots), both, sum[r][half]);
            }
        }
        w += KIND == INT4 ? 256 : 512;
    }
    for (int r = 0; r < R; r++) {
        _mm256_storeu_ps(out + r * TILE, sum[r][0]);
        _mm256_storeu_ps(out + r * TILE + 8, sum[r][1]);
    }
#else
    for (int i = 0; i < R * TILE; i++) out[i] = 0;
    for (int64_t g = 0; g < groups; g++) {
        uint8_t c[512];
        if (KIND == INT4) {
            for (int i = 0; i < 256; i++) {
                c[i] = w[i] & 15;
                c[256 + i] = w[i] >> 4;
            }
            w += 256;
        } else {
            memcpy(c, w, 512);
            w += 512;
        }
        for (int r = 0; r < R; r++) {
            int32_t dots[TILE];
            const int8_t* xr = x + (r * groups + g) * GROUP;
            for (int o = 0; o < TILE; o++) dots[o] = x0[r * groups + g];
            for (int j = 0; j < 8; j++)
                for (int o = 0; o < TILE; o++)
                    for (int k = 0; k < 4; k++) dots[o] += int32_t(c[j * 64 + o * 4 + k]) * xr[j * 4 + k];
            for (int o = 0; o < TILE; o++)
                out[r * TILE + o] += float(dots[o]) * (from_bf16(ws[g * TILE + o]) * xs[r * groups + g]);
        }
    }
#endif
}

template <int R>
INLINE void tile_of_halves(const Matrix& m, const Acts& a, int64_t tile, int64_t row, float* out) {
    const int64_t pairs = m.groups * (GROUP / 2);
    const uint16_t* w = (const uint16_t*)m.codes + tile * pairs * 2 * TILE;
#if defined(__AVX512BF16__)
    const uint16_t* x = a.half + row * pairs * 2;
    // Two sums a number, over even and odd pairs: one alone would wait for itself.
    __m512 even[R], odd[R];
    for (int r = 0; r < R; r++) even[r] = odd[r] = _mm512_setzero_ps();
    for (int64_t p = 0; p < pairs; p += 2, w += 4 * TILE) {
        _mm_prefetch((const char*)w + 2048, _MM_HINT_T0);
        _mm_prefetch((const char*)w + 2112, _MM_HINT_T0);
        __m512bh w0 = (__m512bh)_mm512_loadu_si512(w), w1 = (__m512bh)_mm512_loadu_si512(w + 2 * TILE);
        for (int r = 0; r < R; r++) {
            int32_t x0, x1;
            memcpy(&x0, x + (r * pairs + p) * 2, 4);
            memcpy(&x1, x + (r * pairs + p) * 2 + 2, 4);
            even[r] = _mm512_dpbf16_ps(even[r], w0, (__m512bh)_mm512_set1_epi32(x0));
            odd[r] = _mm512_dpbf16_ps(odd[r], w1, (__m512bh)_mm512_set1_epi32(x1));
        }
    }
    for (int r = 0; r < R; r++) _mm512_storeu_ps(out + r * TILE, _mm512_add_ps(even[r], odd[r]));
#else
    const float* x = a.full + row * pairs * 2;
#if defined(__AVX512F__)
    __m512 even[R], odd[R];
    for (int r = 0; r < R; r++) even[r] = odd[r] = _mm512_setzero_ps();
    for (int64_t p = 0; p < pairs; p++, w += 2 * TILE) {
        __m512i both = _mm512_loadu_si512(w);
        __m512 w0 = _mm512_castsi512_ps(_mm512_slli_epi32(both, 16));
        __m512 w1 = _mm512_castsi512_ps(_mm512_and_si512(both, _mm512_set1_epi32(int(0xffff0000))));
        for (int r = 0; r < R; r++) {
            even[r] = _mm512_fmadd_ps(w0, _mm512_set1_ps(x[(r * pairs + p) * 2]), even[r]);
            odd[r] = _mm512_fmadd_ps(w1, _mm512_set1_ps(x[(r * pairs + p) * 2 + 1]), odd[r]);
        }
    }
    for (int r = 0; r < R; r++) _mm512_storeu_ps(out + r * TILE, _mm512_add_ps(even[r], odd[r]));
#else
    float even[R][TILE], odd[R][TILE];
    memset(even, 0, sizeof even);
    memset(odd, 0, sizeof odd);
    for (int64_t p = 0; p < pairs; p++, w += 2 * TILE) {
        float w0[TILE], w1[TILE];
        for (int o = 0; o < TILE; o++) {
            w0[o] = from_bf16(w[2 * o]);
            w1[o] = from_bf16(w[2 * o + 1]);
        }
        for (int r = 0; r < R; r++) {
            float x0 = x[(r * pairs + p) * 2], x1 = x[(r * pairs + p) * 2 + 1];
            for (int o = 0; o < TILE; o++) {
                even[r][o] += w0[o] * x0;
                odd[r][o] += w1[o] * x1;
            }
        }
    }
    for (int r = 0; r < R; r++)
        for (int o = 0; o < TILE; o++) out[r * TILE + o] = even[r][o] + odd[r][o];
#endif
#endif
}

#if defined(__AVX512BF16__)
enum { WIDE_ROWS = 6, WIDE_PANEL_BYTES = 5 << 17 };  // most of a core's second cache

// Two tiles beside each other and six rows, out[6][32]: a number of a row is loaded once for 32 outputs. Every
// sum is made as in tile_of_halves. Sums have names, since g++ keeps arrays of so many in memory.
static void two_tiles(const Matrix& m, const Acts& a, int64_t tile, int64_t row, float* out) {
    const int64_t pairs = m.groups * (GROUP / 2);
    const uint16_t* w = (const uint16_t*)m.codes + tile * pairs * 2 * TILE;
    const uint16_t* v = w + pairs * 2 * TILE;
    const uint16_t* x = a.half + row * pairs * 2;
#define EACH_ROW(DO) DO(0) DO(1) DO(2) DO(3) DO(4) DO(5)
#define BEGIN(r) \
    __m512 even0_##r = _mm512_setzero_ps(), even1_##r = even0_##r, odd0_##r = even0_##r, odd1_##r = even0_##r;
#define ADD(r) { \
    int32_t x0, x1; \
    memcpy(&x0, x + (r * pairs + p) * 2, 4); \
    memcpy(&x1, x + (r * pairs + p) * 2 + 2, 4); \
    const __m512bh y0 = (__m512bh)_mm512_set1_epi32(x0), y1 = (__m512bh)_mm512_set1_epi32(x1); \
    even0_##r = _mm512_dpbf16_ps(even0_##r, w0, y0); \
    even1_##r = _mm512_dpbf16_ps(even1_##r, v0, y0); \
    odd0_##r = _mm512_dpbf16_ps(odd0_##r, w1, y1); \
    odd1_##r = _mm512_dpbf16_ps(odd1_##r, v1, y1); \
}
#define STORE(r) \
    _mm512_storeu_ps(out + r * 2 * TILE, _mm512_add_ps(even0_##r, odd0_##r)); \
    _mm512_storeu_ps(out + r * 2 * TILE + TILE, _mm512_add_ps(even1_##r, odd1_##r));
    EACH_ROW(BEGIN)
    for (int64_t p = 0; p < pairs; p += 2, w += 4 * TILE, v += 4 * TILE) {
        _mm_prefetch((const char*)w + 1024, _MM_HINT_T0);
        _mm_prefetch((const char*)w + 1088, _MM_HINT_T0);
        _mm_prefetch((const char*)v + 1024, _MM_HINT_T0);
        _mm_prefetch((const char*)v + 1088, _MM_HINT_T0);
        const __m512bh w0 = (__m512bh)_mm512_loadu_si512(w), w1 = (__m512bh)_mm512_loadu_si512(w + 2 * TILE);
        const __m512bh v0 = (__m512bh)_mm512_loadu_si512(v), v1 = (__m512bh)_mm512_loadu_si512(v + 2 * TILE);
        EACH_ROW(ADD)
    }
    EACH_ROW(STORE)
#undef EACH_ROW
#undef BEGIN
#undef ADD
#undef STORE
}
#endif

template <int R>
static void tile_rows(const Matrix& m, const Acts& a, int64_t tile, int64_t row, float* out) {
    if (m.kind == INT4) tile_of_codes<INT4, R>(m, a, tile, row, out);
    else if (m.kind == INT8) tile_of_codes<INT8, R>(m, a, tile, row, out);
    else tile_of_halves<R>(m, a, tile, row, out);
}

typedef void (*TileRows)(const Matrix&, const Acts&, int64_t, int64_t, float*);
static const TileRows TILE_ROWS[MOST_ROWS + 1] = {
    nullptr,      tile_rows<1>, tile_rows<2>, tile_rows<3>, tile_rows<4>,
    tile_rows<5>, tile_rows<6>, tile_rows<7>, tile_rows<8>,
};

// Where outputs go: rows of `wide` numbers, of which the first `outs` are written.
struct Outputs {
    void* to;
    int64_t is_bf16, wide, outs;
};

// Rows row .. row + n of `many` outputs from `first` on, from found [n][many], with a bias where there is one.
INLINE void put_outputs(
    float* found, const float* bias, int64_t many, int64_t row, int64_t n, int64_t first, const Outputs& out
) {
    const int64_t some = out.outs - first < many ? out.outs - first : many;
    for (int64_t r = 0; r < n; r++) {
        float* x = found + r * many;
        if (bias != nullptr)
            for (int64_t o = 0; o < many; o++) x[o] += bias[first + o];
        const int64_t at = (row + r) * out.wide + first;
        if (out.is_bf16 && some % TILE == 0) {
            for (int64_t o = 0; o < some; o += TILE) store_tile((uint16_t*)out.to + at + o, x + o);
        } else {
            store(out.to, out.is_bf16, at, some, x);
        }
    }
}

// Pieces of a product: a stretch of rows that stays in a core's cache, and a run of tiles.
struct Pieces {
    int64_t at_once, panel, panels, run, runs;
};

static Pieces pieces_of(const Matrix& m, int64_t rows, int64_t threads) {
    Pieces p;
    const int64_t row_bytes = m.groups * GROUP * (m.kind == BF16 ? 2 : 1);
    int64_t bytes = PANEL_BYTES;
    p.at_once = MOST_ROWS;
#if defined(__AVX512BF16__)
    if (m.kind == BF16 && rows > MOST_ROWS) {
        p.at_once = WIDE_ROWS;
        bytes = WIDE_PANEL_BYTES;
    }
#endif
    p.panel = bytes / row_bytes / p.at_once * p.at_once;
    if (p.panel < p.at_once) p.panel = p.at_once;
    p.panels = (rows + p.panel - 1) / p.panel;
    // Several runs a thread, so that one whose core is also wanted by others does not make all wait.
    p.run = threads == 1 ? m.tiles : (m.tiles + threads * RUNS - 1) / (threads * RUNS);
    p.run += p.run & 1;  // tiles go in twos
    p.runs = (m.tiles + p.run - 1) / p.run;
    return p;
}

static void product_piece(
    const Matrix& m, const Acts& a, const Pieces& p, int64_t from, int64_t to, int64_t first, int64_t last,
    const Outputs& out
) {
    float found[MOST_ROWS * TILE * 2];
    for (int64_t tile = first; tile < last;) {
        int64_t row = from, tiles = 1;
#if defined(__AVX512BF16__)
        if (p.at_once == WIDE_ROWS && tile + 1 < last && to - from >= WIDE_ROWS) {
            tiles = 2;
            for (; row + WIDE_ROWS <= to; row += WIDE_ROWS) {
                two_tiles(m, a, tile, row, found);
                put_outputs(found, m.bias, 2 * TILE, row, WIDE_ROWS, tile * TILE, out);
            }
        }
#endif
        for (; row < to; row += p.at_once) {
            const int64_t n = to - row < p.at_once ? to - row : p.at_once;
            for (int64_t t = tile; t < tile + tiles; t++) {
                TILE_ROWS[n](m, a, t, row, found);
                put_outputs(found, m.bias, TILE, row, n, t * TILE, out);
            }
        }
        tile += tiles;
    }
}

// Rows x weights; all of the crew come back together.
static void product(Crew& crew, const Matrix& m, const Acts& a, int64_t rows, const Outputs& out) {
    const Pieces p = pieces_of(m, rows, crew.threads);
    crew.spread(p.panels * p.runs, [&](int64_t piece) {
        const int64_t from = piece / p.runs * p.panel, first = piece % p.runs * p.run;
        const int64_t to = from + p.panel < rows ? from + p.panel : rows;
        const int64_t last = first + p.run < m.tiles ? first + p.run : m.tiles;
        product_piece(m, a, p, from, to, first, last, out);
    });
}

// ---- memory for what a call holds: kept by the calling thread, given back when it was much larger than needed

struct Scratch {
    char* start = nullptr;
    size_t size = 0, used = 0;
    ~Scratch() { std::free(start); }
    bool reserve(size_t bytes) {
        used = 0;
        if (bytes <= size && bytes * 8 + (size_t(4) << 20) >= size) return true;
        std::free(start);
        start = nullptr;
        size = 0;
        void* found = nullptr;
        if (posix_memalign(&found, 64, bytes) != 0) return false;
        start = (char*)found;
        size = bytes;
        return true;
    }
    void* take(size_t bytes) {
        void* found = start + used;
        used += (bytes + 63) / 64 * 64;
        return found;
    }
};

static thread_local Scratch scratch;

static size_t acts_bytes(int64_t rows, int64_t groups) {
    return rows * groups * GROUP * sizeof(float) + rows * groups * 8 + 256;
}

static Acts take_acts(const Matrix& m, int64_t rows) {
    Acts a;
    a.kind = m.kind;
    a.ins = m.ins;
    a.groups = m.groups;
    a.codes = nullptr;
    a.scales = nullptr;
    a.start = nullptr;
    a.half = nullptr;
    a.full = nullptr;
    size_t numbers = rows * m.groups * GROUP;
    if (m.kind == BF16) {
#if defined(__AVX512BF16__)
        a.half = (uint16_t*)scratch.take(numbers * 2);
#else
        a.full = (float*)scratch.take(numbers * 4);
#endif
    } else {
        a.codes = (int8_t*)scratch.take(numbers);
        a.scales = (float*)scratch.take(rows * m.groups * 4);
        a.start = (int32_t*)scratch.take(rows * m.groups * 4);
    }
    return a;
}

// ---- parts of a layer

static void norm_row(const float* x, const float* weight, double eps, int64_t n, float* y) {
    float lanes[TILE] = {0};
    int64_t i = 0;
    for (; i + TILE <= n; i += TILE)
        for (int l = 0; l < TILE; l++) lanes[l] += x[i + l] * x[i + l];
    float square = 0;
    for (int l = 0; l < TILE; l++) square += lanes[l];
    for (; i < n; i++) square += x[i] * x[i];
    const float factor = 1.0f / std::sqrt(square / float(n) + float(eps));
    for (i = 0; i < n; i++) y[i] = x[i] * factor * weight[i];
}

static void rotate(float* x, const float* cos, const float* sin, int64_t n) {
    const int64_t half = n / 2;
    for (int64_t i = 0; i < half; i++) {
        const float left = x[i], right = x[i + half];
        x[i] = left * cos[i] - right * sin[i];
        x[i + half] = right * cos[i + half] + left * sin[i + half];
    }
}

INLINE void load_numbers(const void* from, int64_t is_bf16, int64_t at, int64_t n, float* to) {
    if (is_bf16) {
        const uint16_t* x = (const uint16_t*)from + at;
        for (int64_t i = 0; i < n; i++) to[i] = from_bf16(x[i]);
    } else {
        memcpy(to, (const float*)from + at, n * sizeof(float));
    }
}

INLINE float dot(const float* q, const float* k, int64_t n) {
#if defined(__AVX512F__)
    if (n % TILE == 0) {
        __m512 sum = _mm512_setzero_ps();
        for (int64_t i = 0; i < n; i += TILE)
            sum = _mm512_fmadd_ps(_mm512_loadu_ps(q + i), _mm512_loadu_ps(k + i), sum);
        return _mm512_reduce_add_ps(sum);
    }
#endif
    float lanes[TILE] = {0};
    int64_t i = 0;
    for (; i + TILE <= n; i += TILE)
        for (int l = 0; l < TILE; l++) lanes[l] += q[i + l] * k[i + l];
    for (; i < n; i++) lanes[0] += q[i] * k[i];
    for (int step = TILE / 2; step; step /= 2)
        for (int l = 0; l < step; l++) lanes[l] += lanes[l + step];
    return lanes[0];
}

INLINE void add_scaled(float* y, float w, const float* v, int64_t n) {
    for (int64_t i = 0; i < n; i++) y[i] += w * v[i];
}

// Attention of `many` heads' queries [many][n] that share a head of keys. `block` is room for 16 keys,
// `weights` for many x count numbers.
static void attend(
    const float* q, const Pass& p, int64_t head, int64_t start, int64_t count, int64_t n, int64_t many,
    float scaling, float* block, float* weights, float* y
) {
    const int64_t base = (head * p.memory + start) * n;
    for (int64_t k = 0; k < count; k += TILE) {
        const int64_t some = count - k < TILE ? count - k : int64_t(TILE);
        load_numbers(p.keys, p.keys_bf16, base + k * n, some * n, block);
        for (int64_t g = 0; g < many; g++)
            for (int64_t i = 0; i < some; i++) weights[g * count + k + i] = dot(q + g * n, block + i * n, n) * scaling;
    }
    for (int64_t g = 0; g < many; g++) {
        float* w = weights + g * count;
        float most = -INFINITY, lanes[TILE] = {0}, sum = 0;
        for (int64_t k = 0; k < count; k++) most = w[k] > most ? w[k] : most;
        int64_t k = 0;
        for (; k + TILE <= count; k += TILE)
            for (int l = 0; l < TILE; l++) lanes[l] += w[k + l] = fast_exp(w[k + l] - most);
        for (; k < count; k++) sum += w[k] = fast_exp(w[k] - most);
        for (int l = 0; l < TILE; l++) sum += lanes[l];
        const float inverse = 1.0f / sum;
        for (k = 0; k < count; k++) w[k] *= inverse;
    }
    for (int64_t i = 0; i < many * n; i++) y[i] = 0;
    for (int64_t k = 0; k < count; k += TILE) {
        const int64_t some = count - k < TILE ? count - k : int64_t(TILE);
        load_numbers(p.values, p.keys_bf16, base + k * n, some * n, block);
        for (int64_t g = 0; g < many; g++) {
            const float* w = weights + g * count + k;
            float* yg = y + g * n;
            int64_t i = 0;
            for (; i + 64 <= n; i += 64) {
                float sums[64];
                memcpy(sums, yg + i, sizeof sums);
                for (int64_t b = 0; b < some; b++)
                    for (int l = 0; l < 64; l++) sums[l] += w[b] * block[b * n + i + l];
                memcpy(yg + i, sums, sizeof sums);
            }
            if (i < n)
                for (int64_t b = 0; b < some; b++) add_scaled(yg + i, w[b], block + b * n + i, n - i);
        }
    }
}

extern "C" {

// Ask the system for large pages where weights will be written: fewer look-ups while they stream through.
void pumice_large_pages(void* start, int64_t bytes) {
#if defined(__linux__) && defined(MADV_HUGEPAGE)
    const uintptr_t page = 1 << 21, from = ((uintptr_t)start + page - 1) / page * page;
    const uintptr_t to = ((uintptr_t)start + bytes) / page * page;
    if (to > from) madvise((void*)from, to - from, MADV_HUGEPAGE);
#else
    (void)start;
    (void)bytes;
#endif
}

// output [rows][outs] = input [rows][ins] x weights + bias. 0, or 1 where there is no memory.
int pumice_linear(
    const Matrix* m, const void* input, int64_t input_bf16, int64_t rows, void* output, int64_t output_bf16,
    int64_t threads
) {
    const size_t bytes = acts_bytes(rows, m->groups) + threads * (m->ins * sizeof(float) + 64) + 1024;
    if (!scratch.reserve(bytes)) return 1;
    const Acts a = take_acts(*m, rows);
    float* own = (float*)scratch.take(threads * m->ins * sizeof(float));
    together(threads, [&](Crew& crew) {
        crew.each(rows, [&](int64_t r) {
            if (input_bf16 && a.half != nullptr && m->ins % GROUP == 0) {  // as it is taken
                memcpy(a.half + r * m->ins, (const uint16_t*)input + r * m->ins, m->ins * 2);
                return;
            }
            float* row = own + crew.me * m->ins;
            load_row(input, input_bf16, r, m->ins, row);
            put_row(a, r, row);
        });
        product(crew, *m, a, rows, Outputs{output, output_bf16, m->outs, m->outs});
    });
    return 0;
}

// One decoder layer of Llama's kind, or a part of it. 0, or 1 where there is no memory.
int pumice_layer(const Layer* layer, const Pass* pass) {
    const Layer& y = *layer;
    const Pass& p = *pass;
    const int64_t rows = p.rows, heads = y.heads, kv_heads = y.kv_heads, n = y.head_dim, width = y.width;
    const int64_t q_wide = heads * n, kv_wide = kv_heads * n, shared = heads / kv_heads;
    const int64_t qkv_wide = y.qkv.tiles * TILE, out_wide = y.out.tiles * TILE;
    const int64_t ff_wide = y.gate_up.tiles * TILE, down_wide = y.down.tiles * TILE;
    const bool before = p.stage != 2, behind = p.stage != 1;
    int64_t longest = 0;
    for (int64_t s = 0; s < p.singles; s++) longest = p.counts[s] > longest ? p.counts[s] : longest;
    const auto whole_rows = [](float* to, int64_t wide) { return Outputs{to, 0, wide, wide}; };
    // Heads that share keys are split where there would be fewer pieces of work than threads.
    const int64_t pieces = p.singles * kv_heads;
    int64_t parts = pieces ? (p.threads + pieces - 1) / pieces : 1;
    parts = parts < shared ? parts : shared;
    const int64_t own = (width + (TILE + 2) * n + longest * shared + 15) / 16 * 16;
    size_t bytes = 4096 + rows * width * sizeof(float) + acts_bytes(rows, y.qkv.groups);
    bytes += acts_bytes(rows, y.out.groups) + acts_bytes(rows, y.gate_up.groups);
    bytes += acts_bytes(rows, y.down.groups) + p.threads * own * sizeof(float);
    bytes += rows * (qkv_wide + out_wide + ff_wide + down_wide) * sizeof(float);
    if (!scratch.reserve(bytes)) return 1;
    float* carried = (float*)scratch.take(rows * width * sizeof(float));
    const Acts in = take_acts(y.qkv, rows), attended = take_acts(y.out, rows);
    const Acts middle = take_acts(y.gate_up, rows), inner = take_acts(y.down, rows);
    float* qkv = (float*)scratch.take(rows * qkv_wide * sizeof(float));
    float* out = (float*)scratch.take(rows * out_wide * sizeof(float));
    float* gate_up = (float*)scratch.take(rows * ff_wide * sizeof(float));
    float* down = (float*)scratch.take(rows * down_wide * sizeof(float));
    float* owns = (float*)scratch.take(p.threads * own * sizeof(float));
    together(p.threads, [&](Crew& crew) {
        float* mine = owns + crew.me * own;
        float *normed = mine, *cos = mine + width, *sin = cos + n, *block = sin + n, *weights = block + TILE * n;
        if (before) {
            crew.each(rows, [&](int64_t r) {
                load_row(p.input, p.is_bf16, r, width, carried + r * width);
                norm_row(carried + r * width, y.norm1, y.eps1, width, normed);
                put_row(in, r, normed);
            });
            product(crew, y.qkv, in, rows, whole_rows(qkv, qkv_wide));
            crew.each(rows * kv_heads, [&](int64_t item) {
                const int64_t r = item / kv_heads, h = item % kv_heads;
                load_row(p.cos, p.is_bf16, r, n, cos);
                load_row(p.sin, p.is_bf16, r, n, sin);
                float* q = qkv + r * qkv_wide + h * shared * n;
                for (int64_t g = 0; g < shared; g++) rotate(q + g * n, cos, sin, n);
                memcpy(p.query + r * q_wide + h * shared * n, q, shared * n * sizeof(float));
                float* k = qkv + r * qkv_wide + q_wide + h * n;
                rotate(k, cos, sin, n);
                const int64_t at = (h * p.memory + p.places[r]) * n;
                store(p.keys, p.keys_bf16, at, n, k);
                store(p.values, p.keys_bf16, at, n, k + kv_wide);
            });
            crew.spread(p.singles * kv_heads * parts, [&](int64_t item) {
                const int64_t s = item / (kv_heads * parts), h = item / parts % kv_heads, part = item % parts;
                const int64_t first = h * shared + shared * part / parts;
                const int64_t many = h * shared + shared * (part + 1) / parts - first;
                const int64_t at = s * q_wide + first * n;
                attend(
                    p.query + at, p, h, p.starts[s], p.counts[s], n, many, float(y.scaling), block, weights,
                    p.attended + at
                );
            });
        } else {
            crew.each(rows, [&](int64_t r) { load_row(p.input, p.is_bf16, r, width, carried + r * width); });
        }
        if (behind) {
            crew.each(rows, [&](int64_t r) { put_row(attended, r, p.attended + r * q_wide); });
            product(crew, y.out, attended, rows, whole_rows(out, out_wide));
            crew.each(rows, [&](int64_t r) {
                float* x = carried + r * width;
                for (int64_t i = 0; i < width; i++) x[i] += out[r * out_wide + i];
                norm_row(x, y.norm2, y.eps2, width, normed);
                put_row(middle, r, normed);
            });
            product(crew, y.gate_up, middle, rows, whole_rows(gate_up, ff_wide));
            const int64_t whole = ff_wide / 2;
            crew.each(rows * inner.groups, [&](int64_t item) {
                const int64_t r = item / inner.groups, g = item % inner.groups;
                const float *gate = gate_up + r * ff_wide + g * GROUP, *up = gate + whole;
                float made[GROUP] = {0};
                const int64_t left = y.hidden - g * GROUP, many = left < GROUP ? left : int64_t(GROUP);
                for (int64_t i = 0; i < many; i++) made[i] = gate[i] / (1.0f + fast_exp(-gate[i])) * up[i];
                put_group(inner, r, g, made);
            });
            product(crew, y.down, inner, rows, whole_rows(down, down_wide));
            crew.each(rows, [&](int64_t r) {
                float* x = carried + r * width;
                for (int64_t i = 0; i < width; i++) x[i] += down[r * down_wide + i];
                store(p.output, p.is_bf16, r * width, width, x);
            });
        }
    });
    return 0;
}

}  // extern "C"
