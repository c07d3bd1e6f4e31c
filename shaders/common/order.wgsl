// The order of numbers for what looks for the largest, put before its shaders: the larger first, among equals the one of the lower index.
//
// Numbers are compared as integers in the same order, by which 0 is -0 and NaN is as small as minus infinity: a comparison of floating-point numbers
// may take NaN for anything.

const RANK_OF_ZERO = 0x7fffffffu;
const INFINITY = 0x7f800000u;
const LAST = RANK_OF_ZERO + INFINITY;

// The larger a number, the lower its rank.
fn rank(word: u32) -> u32 {
    let size = word & 0x7fffffffu;
    if size > INFINITY {
        return LAST;
    }
    return select(RANK_OF_ZERO - size, RANK_OF_ZERO + size, (word >> 31u) == 1u);
}

// A number of a row: its rank and its index. The least comes first.
alias Entry = vec2u;

// Before and behind every entry that there is.
const START = Entry();
const NONE = Entry(0xffffffffu);
