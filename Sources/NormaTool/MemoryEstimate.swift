import NormaTensor

/// Estimates the peak of live tensors during a training step of the U-Net from the shapes of its layers.
///
/// What lives at the peak:
/// - parameters and Adam's two averages, 12 bytes per parameter, and the gradients that are there already;
/// - what the backward pass needs. With A the bytes of a level's activation, a block of convolution, norm and ReLU keeps the
///   convolution's output and its own (2 A; A without a norm; A with `--memory low`, which computes the norm again), a
///   pooling its output and places (8 bytes each), a concatenation its 2 A in place of the upsampled half; the 2×2
///   convolution of an upsampled input keeps its summed taps, 9/4 of its weights;
/// - what one block's backward needs meanwhile: one A under a norm, two without, and with `--memory low` the computed input
///   and its gradient;
/// - under bfloat16 half of that per activation, and a copy of the weights. A measured 1.6 A more of the first level (2.4
///   with `--memory low`) is added there.
///
/// Backward goes through the blocks from the end: activations go, gradients come. The peak is the greatest of all blocks. Against
/// `norma bench step` it was within 6 % in float32 and 15 % in bfloat16, for widths from 8 to 64, 64² to 512² pixels and 1 to
/// 8 images.
struct MemoryEstimate {
  var width: Int
  /// Height and width of the images.
  var size: Int
  var batchSize: Int
  var isNormalized = true
  var dtype = TrainingCommandOptions.ActivationType.float32
  var memory = TrainingCommandOptions.MemoryUse.standard

  private struct Block {
    /// Bytes of the output.
    let output: Double
    /// Bytes of the input.
    let input: Double
    let weights: Double
    /// Bytes that go when the block's backward is done.
    var kept: Double
  }

  /// Bytes of the live tensors, in floating point since absurd sizes shall not overflow.
  var peakBytes: Double {
    let bytes = dtype == .float32 ? 4.0 : 2
    let pixels = Double(size) * Double(size) * Double(batchSize)
    let recomputes = memory == .low && isNormalized
    func channels(_ level: Int) -> Double { Double(width) * Double(1 << level) }
    func activation(_ level: Int) -> Double { channels(level) * pixels / Double(1 << (2 * level)) * bytes }
    let perBlock = isNormalized && !recomputes ? 2.0 : 1
    func block(_ level: Int, from inputs: Double, kernel: Double, input: Double) -> Block {
      let weights = channels(level) * inputs * kernel * kernel
      let taps = kernel == 2 ? weights * 9 / 4 * bytes : 0
      let copy = bytes == 2 ? weights * 2 : 0
      return Block(
        output: activation(level), input: input, weights: weights + channels(level) * (isNormalized ? 3 : 1),
        kept: perBlock * activation(level) + taps + copy)
    }

    var blocks: [Block] = []
    let depth = 4
    for level in 0...depth {
      let pooled = level == 0 ? 0 : activation(level - 1) / 4
      blocks.append(block(level, from: level == 0 ? 1 : channels(level - 1), kernel: 3, input: pooled))
      blocks.append(block(level, from: channels(level), kernel: 3, input: activation(level)))
      if level < depth, !recomputes {
        blocks[blocks.count - 1].kept += activation(level) / 4 + activation(level) / 4 / bytes * 8
      }
    }
    for level in (0..<depth).reversed() {
      var up = block(level, from: channels(level + 1), kernel: 2, input: activation(level + 1))
      var first = block(level, from: 2 * channels(level), kernel: 3, input: 2 * activation(level))
      if !recomputes {
        if isNormalized { up.kept -= activation(level) }
        first.kept += 2 * activation(level)
      }
      blocks += [up, first, block(level, from: channels(level), kernel: 3, input: activation(level))]
    }

    // Images, targets, logits and theirs: a few numbers per pixel.
    var live = 12 * blocks.map(\.weights).reduce(0, +) + 6 * pixels * 4
    live += blocks.map(\.kept).reduce(0, +)
    if bytes == 2 { live += (recomputes ? 2.4 : 1.6) * activation(0) }
    var peak = 0.0
    for block in blocks.reversed() {
      let transient =
        recomputes
        ? max(block.output, block.output + 2 * block.input - block.kept) : block.output * (isNormalized ? 1 : 2)
      let gradient = block.weights * (4 + (bytes == 2 ? 2 : 0))
      peak = max(peak, live + transient, live + gradient)
      live += block.weights * 4 - block.kept
    }
    return max(peak, live)
  }

  /// What the process is expected to take at most: the allocator keeps freed blocks up to 1.25 times the peak of live tensors, and
  /// the rest (libtorch, code, image stacks) took 350 MiB in the trainings of the README.
  var processBytes: Double { 1.25 * peakBytes + 350 * 1_048_576 }
}
