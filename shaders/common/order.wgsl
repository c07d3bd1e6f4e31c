// The order of numbers for what looks for the largest, put before its shaders: the larger first, among equals the one of the lower index.
//
// Numbers are compared as integers in the same order, by which 0 is -0 and NaN is as small as minus infinity: a comparison of floating-point numbers
// may take NaN for anything.

const SMALLEST = -0x7f800000;

fn key(word: u32) -> i32 {
    let size = i32(word & 0x7fffffffu);
    if size > 0x7f800000 {
        return SMALLEST;
    }
    return select(size, -size, (word >> 31u) == 1u);
}

// A number of a row.
struct Entry {
    key: i32,
    index: u32,
}

// Before and behind every entry that there is.
const START = Entry(0x7fffffff, 0u);
const NONE = Entry(-0x7fffffff, 0xffffffffu);

fn before(p: Entry, q: Entry) -> bool {
    return p.key > q.key || (p.key == q.key && p.index < q.index);
}

var<workgroup> entries: array<Entry, WIDTH>;

// The first of the workgroup's. All invocations must come here.
fn group_first(entry: Entry, lane: u32) -> Entry {
    entries[lane] = entry;
    for (var half = WIDTH / 2u; half > 0u; half /= 2u) {
        workgroupBarrier();
        if lane < half {
            if before(entries[lane + half], entries[lane]) {
                entries[lane] = entries[lane + half];
            }
        }
    }
    let first = workgroupUniformLoad(&entries[0]);
    return first;
}
