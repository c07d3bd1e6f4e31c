// A launch that is not the one its caller asked for, to see whether tests notice: CUDA_ON_CPU_ALTER="KERNEL WHAT", of each launch of this kernel
//
//   grid-1, block=128, shared=65536   blocks and threads along x, bytes of dynamic shared memory
//   arg2+1, arg4.3-16                 a parameter, or a word of one that is a structure; of a pointer the address
//   swap=0,1                          two parameters
//   overlaps=1, overlaps=0            that it may begin before the launch before it has ended
#include "state.h"
#include <algorithm>
#include <cctype>

namespace sim {
namespace {
template <class T> void put(T& number, char how, unsigned long long by) { number = T(how == '=' ? by : how == '+' ? number + by : number - by); }

template <class T> void put_into(std::vector<unsigned char>& bytes, size_t at, char how, unsigned long long by) {
    T number;
    memcpy(&number, bytes.data() + at, sizeof number);
    put(number, how, by);
    memcpy(bytes.data() + at, &number, sizeof number);
}
}  // namespace

void alter(const char* kernel, unsigned& grid, unsigned& block, unsigned& dynamic_bytes, bool& overlaps, std::vector<std::vector<unsigned char>>& parameters) {
    static const char* const order = getenv("CUDA_ON_CPU_ALTER");
    if (!order) return;
    char name[128], what[9];
    int length = 0;
    const bool is_read = sscanf(order, "%127s %8[a-z]%n", name, what, &length) == 2;
    if (is_read && strcmp(name, kernel)) return;
    const char* rest = order + length;
    auto number = [&] {
        char* end;
        const unsigned long long n = isdigit(*rest) ? strtoull(rest, &end, 10) : 0;
        if (isdigit(*rest)) rest = end;
        return n;
    };
    const size_t argument = number(), word = *rest == '.' ? ++rest, number() : 0;
    const char how = *rest ? *rest++ : '?';
    const unsigned long long by = number(), other = *rest == ',' ? ++rest, number() : 0;
    const std::string said = is_read && strchr("+-=", how) && !*rest ? what : "";
    if (said == "grid") put(grid, how, by);
    else if (said == "block") put(block, how, by);
    else if (said == "shared") put(dynamic_bytes, how, by);
    else if (said == "overlaps" && how == '=') overlaps = by;
    else if (said == "swap" && std::max(by, other) < parameters.size()) std::swap(parameters[by], parameters[other]);
    else if (said == "arg" && argument < parameters.size() && parameters[argument].size() == 8 && !word) put_into<unsigned long long>(parameters[argument], 0, how, by);
    else if (said == "arg" && argument < parameters.size() && 4 * word + 4 <= parameters[argument].size()) put_into<unsigned>(parameters[argument], 4 * word, how, by);
    else fprintf(stderr, "cuda_on_cpu: CUDA_ON_CPU_ALTER is not understood: %s\n", order), abort();
}
}  // namespace sim
