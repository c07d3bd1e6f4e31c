import { defineConfig } from "vite";

export default defineConfig({
  base: "./",
  // The model and the samples lie beside this folder.
  server: { fs: { allow: [".."] } },
  build: { target: "es2022", assetsInlineLimit: 0, chunkSizeWarningLimit: 1500 },
});
