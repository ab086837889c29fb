// LSTM and GRU over chunks with episode starts inside, forward and back, on one core: `recurrent.py` calls them.
//
// T steps, B columns, H units, a multiple of WIDTH. Arrays are float32, dense, the last axis fastest. What comes from
// the inputs is a matrix product of all steps and is done before, gradients of weights are done behind; what is left
// is one step after the other. `keep [T, B]` is 0 where an episode starts, and 1 elsewhere.

#include <cstdint>
#include <cstring>
#include <vector>

namespace {

#ifdef __AVX512F__
constexpr int WIDTH = 16;
#else
constexpr int WIDTH = 8;
#endif
// Numbers that the processor works on at once. They need not be aligned in memory.
typedef float vec __attribute__((vector_size(WIDTH * sizeof(float))));
typedef int32_t ints __attribute__((vector_size(WIDTH * sizeof(float))));

inline vec all(float x) { return x - vec{}; }
inline vec load(const float* from) {
  vec x;
  std::memcpy(&x, from, sizeof x);
  return x;
}
inline void store(float* to, vec x) { std::memcpy(to, &x, sizeof x); }

// exp(x) as a power of two times a polynomial of what is left of x: the one of the Cephes library's expf.
inline vec exp(vec x) {
  x = x > 88.0f ? all(88.0f) : x;
  x = x < -87.0f ? all(-87.0f) : x;
  vec power = x * 1.44269504f;
  ints whole = __builtin_convertvector(power + (power < 0.0f ? all(-0.5f) : all(0.5f)), ints);
  power = __builtin_convertvector(whole, vec);
  x = x - power * 0.693359375f + power * 2.12194440e-4f;
  vec y = all(1.9875691500e-4f);
  y = y * x + 1.3981999507e-3f;
  y = y * x + 8.3334519073e-3f;
  y = y * x + 4.1665795894e-2f;
  y = y * x + 1.6666665459e-1f;
  y = y * x + 5.0000001201e-1f;
  y = y * (x * x) + (x + 1.0f);
  ints bits = (whole + 127) << 23;
  vec scale;
  std::memcpy(&scale, &bits, sizeof scale);
  return y * scale;
}
inline vec sigmoid(vec x) { return 1.0f / (1.0f + exp(-x)); }
inline vec tanh(vec x) { return 2.0f * sigmoid(2.0f * x) - 1.0f; }

// A matrix `[K, N]` is read in tiles of as many columns, one tile after the other, so that a tile's results stay in
// registers.
constexpr int64_t TILE = 4 * WIDTH;
inline int64_t tile_width(int64_t column, int64_t N) { return column + TILE <= N ? TILE : WIDTH; }

// Tiles of `matrix [K, N]`, or of the transpose of one `[N, K]`.
std::vector<float> tiles(const float* matrix, int64_t K, int64_t N, bool transpose) {
  std::vector<float> out(K * N);
  for (int64_t column = 0, width; column < N; column += width) {
    width = tile_width(column, N);
    for (int64_t k = 0; k < K; ++k)
      for (int64_t i = 0; i < width; ++i)
        out[column * K + k * width + i] = transpose ? matrix[(column + i) * K + k] : matrix[k * N + column + i];
  }
  return out;
}

template <int ROWS, int VECS>
void add_tile(const float* x, const float* tile, float* out, int64_t K, int64_t N) {
  vec sum[ROWS][VECS];
  for (int r = 0; r < ROWS; ++r)
    for (int v = 0; v < VECS; ++v) sum[r][v] = load(out + r * N + v * WIDTH);
  for (int64_t k = 0; k < K; ++k)
    for (int v = 0; v < VECS; ++v) {
      vec weight = load(tile + (k * VECS + v) * WIDTH);
      for (int r = 0; r < ROWS; ++r) sum[r][v] += all(x[r * K + k]) * weight;
    }
  for (int r = 0; r < ROWS; ++r)
    for (int v = 0; v < VECS; ++v) store(out + r * N + v * WIDTH, sum[r][v]);
}

template <int VECS>
void add_columns(const float* x, const float* tile, float* out, int64_t rows, int64_t K, int64_t N) {
  int64_t r = 0;
  for (; r + 4 <= rows; r += 4) add_tile<4, VECS>(x + r * K, tile, out + r * N, K, N);
  for (; r + 2 <= rows; r += 2) add_tile<2, VECS>(x + r * K, tile, out + r * N, K, N);
  for (; r < rows; ++r) add_tile<1, VECS>(x + r * K, tile, out + r * N, K, N);
}

// out [rows, N] += x [rows, K] @ a matrix [K, N] in tiles
void add_product(const float* x, const std::vector<float>& matrix, float* out, int64_t rows, int64_t K, int64_t N) {
  for (int64_t column = 0, width; column < N; column += width) {
    width = tile_width(column, N);
    const float* tile = matrix.data() + column * K;
    if (width == TILE)
      add_columns<4>(x, tile, out + column, rows, K, N);
    else
      add_columns<1>(x, tile, out + column, rows, K, N);
  }
}

// The rows of x [B, H] that an episode starts in become zero.
void forget(float* x, const float* keep, int64_t B, int64_t H) {
  for (int64_t b = 0; b < B; ++b)
    if (keep[b] == 0.0f) std::memset(x + b * H, 0, H * sizeof(float));
}

// Cells before a step: none where an episode starts, not even if they are no numbers.
inline vec kept(const float* cells, float keep) { return keep == 0.0f ? vec{} : load(cells); }

// Set the outputs before step `t`, of `before [T, B, H]`: those of the step before it, or none where an episode starts.
// The first are given. Returns them.
float* set_before(float* before, const float* y, const float* keep, int64_t t, int64_t B, int64_t H) {
  float* h = before + t * B * H;
  if (t > 0) std::memcpy(h, y + (t - 1) * B * H, B * H * sizeof(float));
  forget(h, keep, B, H);
  return h;
}

}  // namespace

extern "C" {

// gates [T, B, 4 H]: in, what comes from inputs and biases; out, the gates, in the order of input, forget, cell, output
// back [4 H, H]; before [T, B, H]: outputs before each step, the first given; cells [T + 1, B, H]: the first given
void lstm_forward(float* gates, const float* back, const float* keep, float* before, float* y, float* cells, int64_t T,
                  int64_t B, int64_t H) {
  std::vector<float> matrix = tiles(back, H, 4 * H, true);
  for (int64_t t = 0; t < T; ++t, keep += B) {
    float* h = set_before(before, y, keep, t, B, H);
    float* g = gates + t * B * 4 * H;
    add_product(h, matrix, g, B, H, 4 * H);
    for (int64_t b = 0; b < B; ++b, g += 4 * H) {
      int64_t row = (t * B + b) * H;
      for (int64_t j = 0; j < H; j += WIDTH) {
        vec in = sigmoid(load(g + j)), stay = sigmoid(load(g + H + j));
        vec fresh = tanh(load(g + 2 * H + j)), show = sigmoid(load(g + 3 * H + j));
        vec cell = stay * kept(cells + row + j, keep[b]) + in * fresh;
        store(g + j, in);
        store(g + H + j, stay);
        store(g + 2 * H + j, fresh);
        store(g + 3 * H + j, show);
        store(cells + B * H + row + j, cell);
        store(y + row + j, show * tanh(cell));
      }
    }
  }
}

// dy [T, B, H] and what `lstm_forward` left; d_gates [T, B, 4 H]: out, gradients of what came in as `gates`
// dh, dc [B, H]: in, gradients of output and cell behind the last step; out, those before the first
void lstm_backward(const float* dy, const float* gates, const float* cells, const float* back, const float* keep,
                   float* dh, float* dc, float* d_gates, int64_t T, int64_t B, int64_t H) {
  std::vector<float> matrix = tiles(back, 4 * H, H, false);
  for (int64_t t = T - 1; t >= 0; --t) {
    const float* keeps = keep + t * B;
    for (int64_t b = 0; b < B; ++b) {
      int64_t row = (t * B + b) * H;
      const float* g = gates + 4 * row;
      float* d = d_gates + 4 * row;
      for (int64_t j = 0; j < H; j += WIDTH) {
        vec in = load(g + j), stay = load(g + H + j), fresh = load(g + 2 * H + j), show = load(g + 3 * H + j);
        vec shown = tanh(load(cells + B * H + row + j));
        vec d_out = load(dh + b * H + j) + load(dy + row + j);
        vec d_cell = load(dc + b * H + j) + d_out * show * (1.0f - shown * shown);
        store(d + j, d_cell * fresh * in * (1.0f - in));
        store(d + H + j, d_cell * kept(cells + row + j, keeps[b]) * stay * (1.0f - stay));
        store(d + 2 * H + j, d_cell * in * (1.0f - fresh * fresh));
        store(d + 3 * H + j, d_out * shown * show * (1.0f - show));
        store(dc + b * H + j, d_cell * stay * keeps[b]);
      }
    }
    std::memset(dh, 0, B * H * sizeof(float));
    add_product(d_gates + t * B * 4 * H, matrix, dh, B, 4 * H, H);
    forget(dh, keeps, B, H);
  }
}

// gates [T, B, 3 H]: in, what comes from inputs and their biases; out, the gates, in the order of reset, update, new
// inner [T, B, 3 H]: in, the biases of what comes from the output before; out, with that added
// back [3 H, H]; before [T, B, H]: outputs before each step, the first given
void gru_forward(float* gates, float* inner, const float* back, const float* keep, float* before, float* y, int64_t T,
                 int64_t B, int64_t H) {
  std::vector<float> matrix = tiles(back, H, 3 * H, true);
  for (int64_t t = 0; t < T; ++t, keep += B) {
    float* h = set_before(before, y, keep, t, B, H);
    float* g = gates + t * B * 3 * H;
    float* s = inner + t * B * 3 * H;
    add_product(h, matrix, s, B, H, 3 * H);
    for (int64_t b = 0; b < B; ++b, g += 3 * H, s += 3 * H) {
      for (int64_t j = 0; j < H; j += WIDTH) {
        vec reset = sigmoid(load(g + j) + load(s + j)), update = sigmoid(load(g + H + j) + load(s + H + j));
        vec fresh = tanh(load(g + 2 * H + j) + reset * load(s + 2 * H + j));
        store(g + j, reset);
        store(g + H + j, update);
        store(g + 2 * H + j, fresh);
        store(y + (t * B + b) * H + j, fresh + update * (load(h + b * H + j) - fresh));
      }
    }
  }
}

// dy [T, B, H] and what `gru_forward` left; d_gates, d_inner [T, B, 3 H]: out, gradients of what came in as `gates` and
// `inner`; dh [B, H]: in, the gradient of the output behind the last step; out, the one before the first
void gru_backward(const float* dy, const float* gates, const float* inner, const float* before, const float* back,
                  const float* keep, float* dh, float* d_gates, float* d_inner, int64_t T, int64_t B, int64_t H) {
  std::vector<float> matrix = tiles(back, 3 * H, H, false);
  for (int64_t t = T - 1; t >= 0; --t) {
    for (int64_t b = 0; b < B; ++b) {
      int64_t row = (t * B + b) * H;
      const float* g = gates + 3 * row;
      float* d = d_gates + 3 * row;
      float* e = d_inner + 3 * row;
      for (int64_t j = 0; j < H; j += WIDTH) {
        vec reset = load(g + j), update = load(g + H + j), fresh = load(g + 2 * H + j);
        vec d_out = load(dh + b * H + j) + load(dy + row + j);
        vec d_fresh = d_out * (1.0f - update) * (1.0f - fresh * fresh);
        vec d_update = d_out * (load(before + row + j) - fresh) * update * (1.0f - update);
        vec d_reset = d_fresh * load(inner + 3 * row + 2 * H + j) * reset * (1.0f - reset);
        store(d + j, d_reset);
        store(d + H + j, d_update);
        store(d + 2 * H + j, d_fresh);
        store(e + j, d_reset);
        store(e + H + j, d_update);
        store(e + 2 * H + j, d_fresh * reset);
        store(dh + b * H + j, d_out * update);
      }
    }
    add_product(d_inner + t * B * 3 * H, matrix, dh, B, 3 * H, H);
    forget(dh, keep + t * B, B, H);
  }
}

}  // extern "C"
