// cuBLASLt as far as benchmarks call it: what its manual says is refused is refused, and what is left computes plainly, when its stream comes to it.
//
// Numbers are those of cublasLt.h and library_types.h. The heuristic knows three algorithms of any product: the first is never to be had when it is called, as it happens
// where less is free than was thought; of the other two, the second is slower. CUDA_ON_CPU_WRONG=cublas has all of them compute something else.
#include "device.h"
#include "numbers.h"
#include <cstdio>
#include <cstdlib>
#include <memory>

using namespace numbers;

namespace {
enum Status { SUCCESS = 0, NOT_INITIALIZED = 1, INVALID_VALUE = 7, EXECUTION_FAILED = 13, NOT_SUPPORTED = 15 };
enum { R_32F = 0, R_16F = 2, R_16BF = 14 };
enum { COMPUTE_32F = 68, COMPUTE_32F_FAST_TF32 = 77 };
enum { OP_N = 0, OP_T = 1 };
// Bits of an epilogue.
enum { DEFAULT = 1, RELU = 2, BIAS = 4, GELU = 32, AUX = 128, BGRADB = 512 };
constexpr size_t MOST_NEEDED = 4096;
const char* wrong = getenv("CUDA_ON_CPU_WRONG");

int refuse(const char* call, const char* why, Status status = INVALID_VALUE) {
    fprintf(stderr, "cuda_on_cpu: %s: %s\n", call, why);
    return status;
}

struct Handle {
    int here = 1;
};
struct Layout {
    int type;
    uint64_t rows, columns;
    int64_t apart;
    int32_t batch = 1;
    int64_t batch_apart = 0;
};
struct Description {
    int compute, scale, transposed[2] = {OP_N, OP_N};
    uint32_t epilogue = DEFAULT;
    void *bias = nullptr, *aux = nullptr;
    int64_t aux_apart = 0;
};
struct Preference {
    uint64_t workspace = 0;
};
struct Algorithm {
    uint64_t number, m, n, k, epilogue, type, left[2];
};
struct Heuristic {
    Algorithm algorithm;
    size_t workspace;
    int state;
    float waves;
    int reserved[4];
};

Kind kind_of(int type) { return type == R_16F ? Kind::F16 : type == R_16BF ? Kind::BF16 : Kind::F32; }

// m, n and k, where everything fits.
const char* fit(const Description& d, const Layout& a, const Layout& b, const Layout& c, const Layout& result, uint64_t& m, uint64_t& n, uint64_t& k) {
    if (d.compute != COMPUTE_32F && d.compute != COMPUTE_32F_FAST_TF32) return "sums of another type than f32";
    if (d.scale != R_32F) return "scalars of another type than f32";
    for (const Layout* l : {&a, &b, &c, &result}) {
        if (l->batch != a.batch) return "batches of several lengths";
        if (l->apart < int64_t(l->rows)) return "a leading dimension that is less than the rows";
        if (l->batch > 1 && l->batch_apart < l->apart * int64_t(l->columns)) return "products of a batch that overlap";
    }
    if (a.type != R_32F && a.type != R_16F && a.type != R_16BF) return "a type that is not known here";
    if (b.type != a.type) return "factors of two types";
    if (c.type != result.type || (result.type != a.type && result.type != R_32F)) return "a result of a type that these factors do not give";
    m = d.transposed[0] == OP_N ? a.rows : a.columns, k = d.transposed[0] == OP_N ? a.columns : a.rows;
    n = d.transposed[1] == OP_N ? b.columns : b.rows;
    if ((d.transposed[1] == OP_N ? b.rows : b.columns) != k) return "factors that do not fit each other";
    if (c.rows != m || c.columns != n || result.rows != m || result.columns != n) return "a result that the factors do not fit";
    return nullptr;
}

// What it has no kernel for.
const char* unsupported(const Description& d, const Layout& a, uint64_t m) {
    const bool half = a.type != R_32F;
    if (d.epilogue != DEFAULT && a.batch > 1) return "an epilogue of a batch";
    if (d.epilogue & BGRADB && !half) return "sums of a factor in f32";
    if (d.epilogue & AUX && (d.aux_apart % 8 || d.aux_apart < int64_t(m))) return "a second result whose leading dimension is no multiple of 8, or less than the rows";
    return nullptr;
}
}  // namespace

#define API extern "C" __attribute__((visibility("default")))
API int cublasLtCreate(Handle** h) { return *h = new Handle, SUCCESS; }
API int cublasLtDestroy(Handle* h) { return delete h, SUCCESS; }
API size_t cublasLtGetVersion() { return 130000; }
API const char* cublasLtGetStatusString(int status) {
    return status == SUCCESS ? "the operation completed successfully" : status == NOT_SUPPORTED ? "the functionality is not supported" : status == INVALID_VALUE ? "an unsupported value or parameter" : "the operation failed";
}
API int cublasLtMatmulDescCreate(Description** d, int compute, int scale) { return *d = new Description{compute, scale}, SUCCESS; }
API int cublasLtMatmulDescDestroy(Description* d) { return delete d, SUCCESS; }
API int cublasLtMatmulDescSetAttribute(Description* d, int attribute, const void* value, size_t bytes) {
    const auto take = [&](auto& to) { return bytes == sizeof to ? (memcpy(&to, value, bytes), int(SUCCESS)) : refuse("cublasLtMatmulDescSetAttribute", "a value of another length"); };
    switch (attribute) {
        case 3: return take(d->transposed[0]);
        case 4: return take(d->transposed[1]);
        case 7: return take(d->epilogue);
        case 8: return take(d->bias);
        case 11: return take(d->aux);
        case 12: return take(d->aux_apart);
        default: return refuse("cublasLtMatmulDescSetAttribute", "an attribute that is not known here");
    }
}
API int cublasLtMatrixLayoutCreate(Layout** l, int type, uint64_t rows, uint64_t columns, int64_t apart) { return *l = new Layout{type, rows, columns, apart}, SUCCESS; }
API int cublasLtMatrixLayoutDestroy(Layout* l) { return delete l, SUCCESS; }
API int cublasLtMatrixLayoutSetAttribute(Layout* l, int attribute, const void* value, size_t bytes) {
    if (attribute == 5 && bytes == 4) return memcpy(&l->batch, value, 4), SUCCESS;
    if (attribute == 6 && bytes == 8) return memcpy(&l->batch_apart, value, 8), SUCCESS;
    return refuse("cublasLtMatrixLayoutSetAttribute", "an attribute that is not known here, or of another length");
}
API int cublasLtMatmulPreferenceCreate(Preference** p) { return *p = new Preference, SUCCESS; }
API int cublasLtMatmulPreferenceDestroy(Preference* p) { return delete p, SUCCESS; }
API int cublasLtMatmulPreferenceSetAttribute(Preference* p, int attribute, const void* value, size_t bytes) {
    if (attribute != 1 || bytes != 8) return refuse("cublasLtMatmulPreferenceSetAttribute", "an attribute that is not known here, or of another length");
    return memcpy(&p->workspace, value, 8), SUCCESS;
}

API int cublasLtMatmulAlgoGetHeuristic(Handle* h, const Description* d, const Layout* a, const Layout* b, const Layout* c, const Layout* result, const Preference* p, int most, Heuristic* found, int* count) {
    *count = 0;
    if (!h || !d || !a || !b || !c || !result || !p || most < 1) return refuse("cublasLtMatmulAlgoGetHeuristic", "nothing where something is needed");
    uint64_t m, n, k;
    if (const char* why = fit(*d, *a, *b, *c, *result, m, n, k)) return refuse("cublasLtMatmulAlgoGetHeuristic", why);
    if (unsupported(*d, *a, m)) return NOT_SUPPORTED;
    for (uint64_t number = 0; number < 3 && *count < most; number++) {
        const size_t needed = number == 2 ? MOST_NEEDED : 0;
        if (needed <= p->workspace) found[(*count)++] = Heuristic{{number, m, n, k, d->epilogue, uint64_t(a->type), {}}, needed, SUCCESS, 1, {}};
    }
    return *count ? SUCCESS : NOT_SUPPORTED;
}

API int cublasLtMatmul(Handle* h, const Description* described, const float* alpha, const void* a, const Layout* la, const void* b, const Layout* lb, const float* beta, const void* c, const Layout* lc, void* result, const Layout* lr, const Algorithm* algorithm, void* workspace, size_t room, void* stream) {
    if (!h || !described || !alpha || !beta || !algorithm) return refuse("cublasLtMatmul", "nothing where something is needed");
    const Description d = *described;
    const Layout A = *la, B = *lb, C = *lr;
    uint64_t m, n, k;
    if (const char* why = fit(d, A, B, *lc, C, m, n, k)) return refuse("cublasLtMatmul", why);
    const Algorithm& is = *algorithm;
    if (is.m != m || is.n != n || is.k != k || is.epilogue != d.epilogue || is.type != uint64_t(A.type)) return refuse("cublasLtMatmul", "an algorithm that was recommended for another product");
    if (is.number == 0 || unsupported(d, A, m)) return NOT_SUPPORTED;
    // The bias, or sums of a factor, are of the result's type.
    const Kind kind = kind_of(A.type), to = kind_of(C.type);
    // The heuristic was not told of less.
    for (const void* p : {a, b, c, static_cast<const void*>(result)})
        if (size_t(p) % 256) return refuse("cublasLtMatmul", "a matrix that is not aligned to 256 bytes");
    if (*beta != 0 && c != result) return refuse("cublasLtMatmul", "a third matrix, which is not known here");
    const auto bytes_of = [&](const Layout& l) { return ((l.batch - 1) * size_t(l.batch_apart) + size_t(l.apart) * (l.columns - 1) + l.rows) * size_of(kind_of(l.type)); };
    std::vector<sim::Touched> touched = {{a, bytes_of(A), false}, {b, bytes_of(B), false}, {result, bytes_of(C), true}};
    const size_t needed = is.number == 2 ? MOST_NEEDED : 0;
    if (room < needed || (needed && size_t(workspace) % 256)) return refuse("cublasLtMatmul", "less workspace than the algorithm needs, or not aligned to 256 bytes");
    if (needed) touched.push_back({workspace, needed, true});
    if (d.epilogue & (BIAS | BGRADB)) {
        if (!d.bias) return refuse("cublasLtMatmul", "no bias");
        touched.push_back({d.bias, (d.epilogue & BIAS ? m : n) * size_of(to), bool(d.epilogue & BGRADB)});
    }
    if (d.epilogue & AUX) {
        if (!d.aux || size_t(d.aux) % 16) return refuse("cublasLtMatmul", "no second result, or not aligned to 16 bytes");
        touched.push_back({d.aux, (size_t(d.aux_apart) * (n - 1) + m) * size_of(to), true});
    }
    const float scale = *alpha, keep = *beta;
    const bool tf32 = d.compute == COMPUTE_32F_FAST_TF32 && kind == Kind::F32, is_wrong = wrong && !strcmp(wrong, "cublas");
    const unsigned repeats = is.number == 2 ? 4 : 1;
    const auto act = [=] {
        for (unsigned again = 0; again < repeats; again++)
            for (size_t i = 0; i < size_t(C.batch); i++)
                for (size_t column = 0; column < n; column++)
                    for (size_t row = 0; row < m; row++) {
                        float sum = 0;
                        for (size_t p = 0; p < k; p++) {
                            const size_t at_a = d.transposed[0] == OP_N ? row + p * size_t(A.apart) : p + row * size_t(A.apart);
                            const size_t at_b = d.transposed[1] == OP_N ? p + column * size_t(B.apart) : column + p * size_t(B.apart);
                            float x = read(a, i * size_t(A.batch_apart) + at_a, kind), y = read(b, i * size_t(B.batch_apart) + at_b, kind);
                            if (tf32) x = to_tf32(x), y = to_tf32(y);
                            sum += x * y;
                        }
                        const size_t at = i * size_t(C.batch_apart) + row + column * size_t(C.apart);
                        sum = scale * sum + (keep != 0 ? keep * read(result, at, to) : 0);
                        if (d.epilogue & BIAS) sum += read(d.bias, row, to);
                        if (d.epilogue & AUX) write(d.aux, row + column * size_t(d.aux_apart), to, sum);
                        if (d.epilogue & RELU) sum = sum > 0 ? sum : 0;
                        // Its GELU is the one by tanh.
                        if (d.epilogue & GELU) sum = 0.5f * sum * (1 + tanhf(0.7978845608f * (sum + 0.044715f * sum * sum * sum)));
                        write(result, at, to, is_wrong ? sum + 1 : sum);
                    }
        for (size_t column = 0; d.epilogue & BGRADB && column < n; column++) {
            float sum = 0;
            for (size_t p = 0; p < k; p++) sum += read(b, d.transposed[1] == OP_N ? p + column * size_t(B.apart) : column + p * size_t(B.apart), kind);
            write(d.bias, column, to, sum);
        }
        if (needed) memset(workspace, 0, needed);
    };
    return cuda_on_cpu_work(stream, "cublasLtMatmul", act, std::move(touched)) ? EXECUTION_FAILED : SUCCESS;
}
