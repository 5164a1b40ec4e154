import NormaTensor

/// A convolution over a nearest-neighbour enlargement that is never made.
///
/// Enlarging by f repeats every value f times along each dimension, so an output at position f·i + p (its *phase* p)
/// reads each input once or several times under different weights: it is a convolution of the small input with
/// weights that are sums of the given ones. The f^d phases together take fewer multiplications (2×2 weights at f = 2:
/// 9 instead of 16) and neither the enlarged nor the padded tensor exists.
struct UpsampledConvolution {
  let factor: Int
  /// Zeros before the first value of every spatial dimension of the enlarged input.
  let before: [Int]

  /// The taps of one phase along one dimension: which weights are summed for which neighbour.
  private struct Taps {
    /// Ranges of weights with a common input, in order.
    let groups: [Range<Int>]
    /// Position of the first tap's input relative to the output's own.
    let first: Int

    init(phase: Int, kernel: Int, before: Int, factor: Int) {
      let sources = (0..<kernel).map { Int((Double(phase + $0 - before) / Double(factor)).rounded(.down)) }
      var groups: [Range<Int>] = []
      for source in Set(sources).sorted() {
        groups.append(sources.firstIndex(of: source)!..<sources.lastIndex(of: source)! + 1)
      }
      self.groups = groups
      first = sources[0]
    }

    /// Symmetric padding that reaches all inputs, and how many outputs then come before the wanted ones.
    var padding: Int { max(0, -first, first + groups.count - 1) }
    var skipped: Int { first + padding }
  }

  /// - Parameters:
  ///   - input: [N, C, spatial…].
  ///   - weight: [out, C / groups, kernel…] of the convolution at stride 1 without dilation.
  /// - Returns: [N, out, factor · spatial…], as the convolution with as much padding as keeps the extent.
  func callAsFunction(_ input: Tensor, weight: Tensor, bias: Tensor?, groups: Int) throws -> Tensor {
    let kernel = Array(weight.shape.dropFirst(2))
    let phases = Self.grid(kernel.map { _ in factor })
    let taps = phases.map { phase in
      kernel.indices.map { Taps(phase: phase[$0], kernel: kernel[$0], before: before[$0], factor: factor) }
    }
    let parts = try taps.map { taps in
      var summed = weight
      for (dimension, tap) in taps.enumerated() { summed = try Self.sum(summed, tap.groups, dimension: dimension + 2) }
      return try input.convolutionRecomputing(
        // Cast after summing: sums of the taps, and of their gradients, are those of the parameters' type.
        weight: summed.to(dtype: input.dtype), bias: bias, stride: kernel.map { _ in 1 }, padding: taps.map(\.padding),
        dilation: kernel.map { _ in 1 }, groups: groups)
    }
    // As libtorch's convolutions: channels lie last when those of the input or of the weight do.
    let format = [input, weight].map(\.denseFormat).first { $0 != .contiguous } ?? .contiguous
    return try interleave(
      parts, phases, skipped: taps.map { $0.map(\.skipped) }, extents: Array(input.shape.dropFirst(2)), format)
  }

  private static func grid(_ extents: [Int]) -> [[Int]] {
    extents.reduce([[]]) { prefixes, extent in prefixes.flatMap { prefix in (0..<extent).map { prefix + [$0] } } }
  }

  /// The weights of one dimension summed within every group.
  ///
  /// Sums of slices, and their gradient repeats: libtorch's reductions and slices in the record are many times slower for
  /// these small extents.
  private static func sum(_ weight: Tensor, _ groups: [Range<Int>], dimension: Int) throws -> Tensor {
    if groups.allSatisfy({ $0.count == 1 }) { return weight }
    let shape = weight.shape
    return try CustomFunction.apply("sum of taps", inputs: [weight]) {
      let sums = try groups.map { group in
        let taps = try group.map { try weight.sliced($0..<$0 + 1, dimension: dimension) }
        return try taps.dropFirst().reduce(taps[0]) { try $0 + $1 }
      }
      let whole = sums.count == 1 ? sums[0] : try Tensor.concatenate(sums, dimension: dimension)
      return (
        outputs: [try whole.contiguous(weight.denseFormat)], saved: [],
        backward: { pass in
          guard let g = pass.gradients[0] else { return [nil] }
          let parts = try groups.indices.map { index in
            var extents = shape
            extents[dimension] = groups[index].count
            return try g.sliced(index..<index + 1, dimension: dimension).expanded(extents)
          }
          return [parts.count == 1 ? parts[0] : try Tensor.concatenate(parts, dimension: dimension)]
        }
      )
    }[0]
  }

  /// Puts the phases' outputs where they belong, without those that only the symmetric padding made.
  private func interleave(
    _ parts: [Tensor], _ phases: [[Int]], skipped: [[Int]], extents: [Int], _ format: MemoryFormat
  ) throws -> Tensor {
    let factor = factor
    /// Every factor-th position from the phase on.
    func every(_ tensor: Tensor, _ phase: [Int]) throws -> Tensor {
      try phase.enumerated().reduce(tensor) { tensor, place in
        let (dimension, start) = (place.offset + 2, place.element)
        return try tensor.sliced(start..<tensor.shape[dimension], dimension: dimension, step: factor)
      }
    }
    func wanted(_ part: Tensor, _ skipped: [Int]) throws -> Tensor {
      try skipped.enumerated().reduce(part) { part, place in
        let range = place.element..<place.element + extents[place.offset]
        return range == 0..<part.shape[place.offset + 2] ? part : try part.sliced(range, dimension: place.offset + 2)
      }
    }
    return try CustomFunction.apply("interleave", inputs: parts, isTwiceDifferentiable: false) {
      let first = parts[0]
      let output = try Tensor.empty(
        Array(first.shape.prefix(2)) + extents.map { $0 * factor }, dtype: first.dtype, device: first.device,
        memoryFormat: format)
      for (index, part) in parts.enumerated() {
        try every(output, phases[index]).copy(from: wanted(part, skipped[index]))
      }
      let shapes = parts.map(\.shape)
      return (
        outputs: [output], saved: [],
        backward: { pass in
          guard let g = pass.gradients[0] else { return pass.needed.map { _ in nil } }
          return try shapes.enumerated().map { index, shape in
            let values = try every(g, phases[index])
            if values.shape == shape { return try values.contiguous(format) }
            let gradient = try Tensor.empty(shape, dtype: g.dtype, device: g.device, memoryFormat: format)
            for (place, skip) in skipped[index].enumerated() {
              for range in [0..<skip, skip + extents[place]..<shape[place + 2]] where !range.isEmpty {
                try gradient.sliced(range, dimension: place + 2).fill(0)
              }
            }
            try wanted(gradient, skipped[index]).copy(from: values)
            return gradient
          }
        }
      )
    }[0]
  }
}
