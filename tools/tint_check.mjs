// Compiles every .wgsl file of a folder with Tint, the compiler of Chromium's WebGPU, without a GPU: node tint_check.mjs DIR
// A file's name begins with its entry point and a dot. Tint wants subgroups enabled where they are used; naga, which compiles the same files, refuses
// that line.
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { create, globals } from 'webgpu';

Object.assign(globalThis, globals);
const folder = process.argv[2];
const gpu = create(['backend=null']);
const adapter = await gpu.requestAdapter();
const device = await adapter.requestDevice({ requiredFeatures: ['shader-f16', 'subgroups'] });
const files = readdirSync(folder).filter((name) => name.endsWith('.wgsl')).sort();
let refused = 0;
let withSubgroups = 0;
for (const file of files) {
  device.pushErrorScope('validation');
  const text = readFileSync(join(folder, file), 'utf8');
  const usesSubgroups = /\bsubgroup[A-Z]/.test(text);
  withSubgroups += usesSubgroups;
  const module = device.createShaderModule({ code: usesSubgroups ? `enable subgroups;\n${text}` : text });
  const { messages } = await module.getCompilationInfo();
  const said = messages.filter((m) => m.type === 'error').map((m) => `${m.lineNum}:${m.linePos}: ${m.message}`);
  try {
    await device.createComputePipelineAsync({ layout: 'auto', compute: { module, entryPoint: file.split('.')[0] } });
  } catch (error) {
    if (said.length === 0) said.push(error.message);
  }
  await device.popErrorScope();
  if (said.length > 0) {
    refused += 1;
    console.error(`${file}: ${said.join('\n  ')}`);
  }
}
console.log(`${files.length - refused} of ${files.length} shaders are accepted by Tint, ${withSubgroups} of them with subgroups`);
process.exit(refused > 0 || withSubgroups === 0 || withSubgroups === files.length ? 1 : 0);
