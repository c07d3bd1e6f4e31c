// The dynamic loss scale: halved where a gradient was not finite, doubled after `interval` finite steps in a row, within [least, most].
//
// Three numbers, one thread: bound by the launch.
extern "C" __global__ void loss_scale_forward_f32(float* scale, int* good, const int* finite, int interval, float least, float most) {
    if (finite[0] == 0) {
        good[0] = 0;
        scale[0] = fminf(fmaxf(0.5f * scale[0], least), most);
    } else if (good[0] >= interval - 1) {
        good[0] = 0;
        scale[0] = fminf(fmaxf(2 * scale[0], least), most);
    } else {
        good[0] += 1;
    }
}
