// cuDNN's convolutions as far as benchmarks call them: what its manual says is refused is refused, and what is left computes plainly, when its stream comes to it.
//
// Numbers are those of cudnn_ops.h and cudnn_cnn.h of cuDNN 9. Tensors lie with their channels innermost. There are two algorithms of each computation, the second with a
// workspace. CUDA_ON_CPU_WRONG=cudnn has all of them compute something else.
#include "device.h"
#include "numbers.h"
#include <cstdio>
#include <cstdlib>

using namespace numbers;

namespace {
enum Status { SUCCESS = 0, BAD_PARAM = 2000, NOT_SUPPORTED = 3000, EXECUTION_FAILED = 5000 };
enum { FLOAT = 0, HALF = 2, BFLOAT16 = 9 };
enum { NHWC = 1, CROSS_CORRELATION = 1 };
enum { DEFAULT_MATH = 0, TENSOR_OP_MATH = 1, FMA_MATH = 3 };
enum { RELU = 1, IDENTITY = 5 };
constexpr size_t NEEDED = 1000;
const char* wrong = getenv("CUDA_ON_CPU_WRONG");

int refuse(const char* call, const char* why, Status status = BAD_PARAM) {
    fprintf(stderr, "cuda_on_cpu: %s: %s\n", call, why);
    return status;
}

struct Handle {
    void* stream = nullptr;
};
// A tensor's N, C, H and W, or the filters' K, C, R and S.
struct Tensor {
    int type = -1, n = 0, c = 0, h = 0, w = 0;
    size_t len() const { return size_t(n) * size_t(c) * size_t(h) * size_t(w); }
    size_t bytes() const { return len() * (type == FLOAT ? 4 : 2); }
    Kind kind() const { return type == HALF ? Kind::F16 : type == BFLOAT16 ? Kind::BF16 : Kind::F32; }
};
struct Convolution {
    int padding[2]{}, stride[2]{}, dilation[2]{}, mode = -1, compute = -1, math = DEFAULT_MATH;
};
struct Activation {
    int mode = -1;
};

const char* unfit(const Tensor* x, const Tensor* w, const Convolution* of, const Tensor* y) {
    if (!x || !w || !of || !y) return "nothing where something is needed";
    if (x->type < 0 || w->type != x->type || y->type != x->type) return "tensors of several types, or none";
    if (of->compute != FLOAT) return "sums of another type than f32";
    if (of->mode != CROSS_CORRELATION) return "filters that are turned around, which is not known here";
    if (of->dilation[0] != 1 || of->dilation[1] != 1) return "a dilation, which is not known here";
    if (w->c != x->c || y->c != w->n || y->n != x->n) return "channels that do not fit";
    const auto out = [&](int size, int filter, int d) { return 1 + (size + 2 * of->padding[d] - filter) / of->stride[d]; };
    if (y->h != out(x->h, w->h, 0) || y->w != out(x->w, w->w, 1)) return "a result whose extents do not follow";
    return nullptr;
}

int workspace(const char* call, const Tensor* x, const Tensor* w, const Convolution* of, const Tensor* y, int algorithm, size_t* bytes) {
    if (const char* why = unfit(x, w, of, y)) return refuse(call, why);
    *bytes = algorithm == 1 ? NEEDED : 0;
    return algorithm == 0 || algorithm == 1 ? SUCCESS : NOT_SUPPORTED;
}

// Visits what meets in a convolution: a number of x, one of w and one of y.
template <class F> void each(const Tensor& x, const Tensor& w, const Convolution& of, const Tensor& y, F visit) {
    for (int n = 0; n < y.n; n++)
        for (int oy = 0; oy < y.h; oy++)
            for (int ox = 0; ox < y.w; ox++)
                for (int r = 0; r < w.h; r++)
                    for (int s = 0; s < w.w; s++) {
                        const int iy = oy * of.stride[0] + r - of.padding[0], ix = ox * of.stride[1] + s - of.padding[1];
                        if (iy < 0 || ix < 0 || iy >= x.h || ix >= x.w) continue;
                        for (int k = 0; k < w.n; k++)
                            for (int c = 0; c < w.c; c++)
                                visit(((size_t(n) * size_t(x.h) + size_t(iy)) * size_t(x.w) + size_t(ix)) * size_t(x.c) + size_t(c), ((size_t(k) * size_t(w.h) + size_t(r)) * size_t(w.w) + size_t(s)) * size_t(w.c) + size_t(c), ((size_t(n) * size_t(y.h) + size_t(oy)) * size_t(y.w) + size_t(ox)) * size_t(y.c) + size_t(k));
                    }
}

// A factor as the convolution's mathematics takes it: f32 may be rounded to TF32 where that is not forbidden.
float factor(const void* from, size_t i, const Tensor& t, const Convolution& of) {
    const float x = read(from, i, t.kind());
    return t.type == FLOAT && of.math != FMA_MATH ? to_tf32(x) : x;
}

// The scalars and the workspace; what any of the computations looks at.
const char* amiss(const Handle* h, const float* alpha, const float* beta, int algorithm, const void* room, size_t bytes) {
    if (!h || !alpha || !beta) return "nothing where something is needed";
    if (algorithm == 1 && (bytes < NEEDED || !room)) return "less workspace than the algorithm needs";
    return nullptr;
}
void also(std::vector<sim::Touched>& touched, int algorithm, void* room) {
    if (algorithm == 1) touched.push_back({room, NEEDED, true});
}
int submitted(Handle* h, const char* call, std::function<void()> act, std::vector<sim::Touched> touched) {
    return cuda_on_cpu_work(h->stream, call, std::move(act), std::move(touched)) ? EXECUTION_FAILED : SUCCESS;
}
const bool is_wrong = wrong && !strcmp(wrong, "cudnn");
// Writes sums, scaled and added to what is there.
void put(const std::vector<float>& sums, void* to, const Tensor& t, float alpha, float beta) {
    for (size_t i = 0; i < sums.size(); i++) write(to, i, t.kind(), alpha * sums[i] + (beta != 0 ? beta * read(to, i, t.kind()) : 0) + (is_wrong ? 1 : 0));
}
}  // namespace

#define API extern "C" __attribute__((visibility("default")))
API int cudnnCreate(Handle** h) { return *h = new Handle, SUCCESS; }
API int cudnnDestroy(Handle* h) { return delete h, SUCCESS; }
API size_t cudnnGetVersion() { return 91000; }
API int cudnnSetStream(Handle* h, void* stream) { return h->stream = stream, SUCCESS; }
API const char* cudnnGetErrorString(int status) {
    return status == BAD_PARAM ? "CUDNN_STATUS_BAD_PARAM" : status == NOT_SUPPORTED ? "CUDNN_STATUS_NOT_SUPPORTED" : status == SUCCESS ? "CUDNN_STATUS_SUCCESS" : "CUDNN_STATUS_EXECUTION_FAILED";
}
API int cudnnCreateTensorDescriptor(Tensor** t) { return *t = new Tensor, SUCCESS; }
API int cudnnDestroyTensorDescriptor(Tensor* t) { return delete t, SUCCESS; }
API int cudnnSetTensor4dDescriptor(Tensor* t, int format, int type, int n, int c, int h, int w) {
    if (format != NHWC || (type != FLOAT && type != HALF && type != BFLOAT16) || n < 1 || c < 1 || h < 1 || w < 1) return refuse("cudnnSetTensor4dDescriptor", "a layout or a type that is not known here, or an extent of nothing");
    return *t = Tensor{type, n, c, h, w}, SUCCESS;
}
API int cudnnCreateFilterDescriptor(Tensor** t) { return *t = new Tensor, SUCCESS; }
API int cudnnDestroyFilterDescriptor(Tensor* t) { return delete t, SUCCESS; }
API int cudnnSetFilter4dDescriptor(Tensor* t, int type, int format, int k, int c, int h, int w) {
    return cudnnSetTensor4dDescriptor(t, format, type, k, c, h, w);
}
API int cudnnCreateConvolutionDescriptor(Convolution** c) { return *c = new Convolution, SUCCESS; }
API int cudnnDestroyConvolutionDescriptor(Convolution* c) { return delete c, SUCCESS; }
API int cudnnSetConvolution2dDescriptor(Convolution* c, int pad_h, int pad_w, int u, int v, int dilation_h, int dilation_w, int mode, int compute) {
    if (pad_h < 0 || pad_w < 0 || u < 1 || v < 1 || dilation_h < 1 || dilation_w < 1) return refuse("cudnnSetConvolution2dDescriptor", "a padding, stride or dilation that cannot be");
    return *c = Convolution{{pad_h, pad_w}, {u, v}, {dilation_h, dilation_w}, mode, compute, DEFAULT_MATH}, SUCCESS;
}
API int cudnnSetConvolutionMathType(Convolution* c, int math) {
    if (math != DEFAULT_MATH && math != TENSOR_OP_MATH && math != FMA_MATH) return refuse("cudnnSetConvolutionMathType", "a kind of mathematics that is not known here");
    return c->math = math, SUCCESS;
}
API int cudnnCreateActivationDescriptor(Activation** a) { return *a = new Activation, SUCCESS; }
API int cudnnDestroyActivationDescriptor(Activation* a) { return delete a, SUCCESS; }
API int cudnnSetActivationDescriptor(Activation* a, int mode, int, double) { return a->mode = mode, SUCCESS; }

API int cudnnGetConvolutionForwardWorkspaceSize(Handle*, Tensor* x, Tensor* w, Convolution* of, Tensor* y, int algorithm, size_t* bytes) {
    return workspace("cudnnGetConvolutionForwardWorkspaceSize", x, w, of, y, algorithm, bytes);
}
API int cudnnGetConvolutionBackwardDataWorkspaceSize(Handle*, Tensor* w, Tensor* dy, Convolution* of, Tensor* dx, int algorithm, size_t* bytes) {
    return workspace("cudnnGetConvolutionBackwardDataWorkspaceSize", dx, w, of, dy, algorithm, bytes);
}
API int cudnnGetConvolutionBackwardFilterWorkspaceSize(Handle*, Tensor* x, Tensor* dy, Convolution* of, Tensor* dw, int algorithm, size_t* bytes) {
    return workspace("cudnnGetConvolutionBackwardFilterWorkspaceSize", x, dw, of, dy, algorithm, bytes);
}

API int cudnnConvolutionForward(Handle* h, const float* alpha, Tensor* px, const void* x, Tensor* pw, const void* w, Convolution* pof, int algorithm, void* room, size_t bytes, const float* beta, Tensor* py, void* y) {
    const char* why = unfit(px, pw, pof, py);
    if (!why) why = amiss(h, alpha, beta, algorithm, room, bytes);
    if (why) return refuse("cudnnConvolutionForward", why);
    if (algorithm > 1) return NOT_SUPPORTED;
    std::vector<sim::Touched> touched = {{x, px->bytes(), false}, {w, pw->bytes(), false}, {y, py->bytes(), true}};
    also(touched, algorithm, room);
    const auto act = [=, tx = *px, tw = *pw, of = *pof, ty = *py, alpha = *alpha, beta = *beta] {
        std::vector<float> sums(ty.len());
        each(tx, tw, of, ty, [&](size_t ix, size_t iw, size_t iy) { sums[iy] += factor(x, ix, tx, of) * factor(w, iw, tw, of); });
        put(sums, y, ty, alpha, beta);
    };
    return submitted(h, "cudnnConvolutionForward", act, std::move(touched));
}

API int cudnnConvolutionBiasActivationForward(Handle* h, const float* alpha, Tensor* px, const void* x, Tensor* pw, const void* w, Convolution* pof, int algorithm, void* room, size_t bytes, const float* share, Tensor* pz, const void* z, Tensor* pb, const void* bias, Activation* activation, Tensor* py, void* y) {
    const char* why = unfit(px, pw, pof, py);
    if (!why) why = amiss(h, alpha, share, algorithm, room, bytes);
    if (!why && (!pz || !pb || !z || !bias || !activation)) why = "nothing where something is needed";
    if (!why && (pz->len() != py->len() || pz->c != py->c || pz->type != py->type)) why = "something of another kind added to the result";
    if (!why && (pb->n != 1 || pb->h != 1 || pb->w != 1 || pb->c != py->c || pb->type != py->type)) why = "a bias that is not one number a channel";
    if (why) return refuse("cudnnConvolutionBiasActivationForward", why);
    if (algorithm > 1 || (activation->mode != RELU && activation->mode != IDENTITY) || (activation->mode == IDENTITY && algorithm != 1)) return NOT_SUPPORTED;
    std::vector<sim::Touched> touched = {{x, px->bytes(), false}, {w, pw->bytes(), false}, {bias, pb->bytes(), false}};
    if (*share != 0) touched.push_back({z, pz->bytes(), false});
    touched.push_back({y, py->bytes(), true});
    also(touched, algorithm, room);
    const auto act = [=, tx = *px, tw = *pw, of = *pof, ty = *py, alpha = *alpha, share = *share, relu = activation->mode == RELU] {
        std::vector<float> sums(ty.len());
        each(tx, tw, of, ty, [&](size_t ix, size_t iw, size_t iy) { sums[iy] += factor(x, ix, tx, of) * factor(w, iw, tw, of); });
        for (size_t i = 0; i < sums.size(); i++) {
            sums[i] = alpha * sums[i] + (share != 0 ? share * read(z, i, ty.kind()) : 0) + read(bias, i % size_t(ty.c), ty.kind());
            if (relu && !(sums[i] > 0)) sums[i] = 0;
        }
        put(sums, y, ty, 1, 0);
    };
    return submitted(h, "cudnnConvolutionBiasActivationForward", act, std::move(touched));
}

API int cudnnConvolutionBackwardData(Handle* h, const float* alpha, Tensor* pw, const void* w, Tensor* py, const void* dy, Convolution* pof, int algorithm, void* room, size_t bytes, const float* beta, Tensor* px, void* dx) {
    const char* why = unfit(px, pw, pof, py);
    if (!why) why = amiss(h, alpha, beta, algorithm, room, bytes);
    if (why) return refuse("cudnnConvolutionBackwardData", why);
    if (algorithm > 1) return NOT_SUPPORTED;
    std::vector<sim::Touched> touched = {{w, pw->bytes(), false}, {dy, py->bytes(), false}, {dx, px->bytes(), true}};
    also(touched, algorithm, room);
    const auto act = [=, tx = *px, tw = *pw, of = *pof, ty = *py, alpha = *alpha, beta = *beta] {
        std::vector<float> sums(tx.len());
        each(tx, tw, of, ty, [&](size_t ix, size_t iw, size_t iy) { sums[ix] += factor(w, iw, tw, of) * factor(dy, iy, ty, of); });
        put(sums, dx, tx, alpha, beta);
    };
    return submitted(h, "cudnnConvolutionBackwardData", act, std::move(touched));
}

API int cudnnConvolutionBackwardFilter(Handle* h, const float* alpha, Tensor* px, const void* x, Tensor* py, const void* dy, Convolution* pof, int algorithm, void* room, size_t bytes, const float* beta, Tensor* pw, void* dw) {
    const char* why = unfit(px, pw, pof, py);
    if (!why) why = amiss(h, alpha, beta, algorithm, room, bytes);
    if (why) return refuse("cudnnConvolutionBackwardFilter", why);
    if (algorithm > 1) return NOT_SUPPORTED;
    std::vector<sim::Touched> touched = {{x, px->bytes(), false}, {dy, py->bytes(), false}, {dw, pw->bytes(), true}};
    also(touched, algorithm, room);
    const auto act = [=, tx = *px, tw = *pw, of = *pof, ty = *py, alpha = *alpha, beta = *beta] {
        std::vector<float> sums(tw.len());
        each(tx, tw, of, ty, [&](size_t ix, size_t iw, size_t iy) { sums[iw] += factor(x, ix, tx, of) * factor(dy, iy, ty, of); });
        put(sums, dw, tw, alpha, beta);
    };
    return submitted(h, "cudnnConvolutionBackwardFilter", act, std::move(touched));
}

API int cudnnConvolutionBackwardBias(Handle* h, const float* alpha, Tensor* py, const void* dy, const float* beta, Tensor* pb, void* db) {
    if (!h || !alpha || !beta || !py || !pb) return refuse("cudnnConvolutionBackwardBias", "nothing where something is needed");
    if (pb->n != 1 || pb->h != 1 || pb->w != 1 || pb->c != py->c || pb->type != py->type) return refuse("cudnnConvolutionBackwardBias", "a bias that is not one number a channel");
    const auto act = [=, ty = *py, tb = *pb, alpha = *alpha, beta = *beta] {
        std::vector<float> sums(tb.len());
        for (size_t i = 0; i < ty.len(); i++) sums[i % sums.size()] += read(dy, i, ty.kind());
        put(sums, db, tb, alpha, beta);
    };
    return submitted(h, "cudnnConvolutionBackwardBias", act, {{dy, py->bytes(), false}, {db, pb->bytes(), true}});
}
