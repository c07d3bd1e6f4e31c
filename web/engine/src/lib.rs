//! The engine in a browser: a model in memory, pictures in, results out as JSON that `web/src/engine.ts` types.
