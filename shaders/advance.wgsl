// Counts applied updates: step <- step + 1 where the flag is not 0, and no further than the largest number there is.
//
// One number: the launch is all the work.

@group(0) @binding(0) var<storage, read_write> step_count: array<i32>;
@group(0) @binding(1) var<storage, read> finite: array<i32>;

const LAST = 0x7fffffff;

@compute @workgroup_size(1)
fn advance_forward_i32() {
    if finite[0] != 0 && step_count[0] != LAST {
        step_count[0] += 1;
    }
}
