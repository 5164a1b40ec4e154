import NormaTensor

/// The four kernels by libtorch's batch-normalization operators, which treat every (sample, channel)
/// plane as a channel of its own. Runs on the CPU and on CUDA, which have these operators.
///
/// libtorch's operators compute scale · x + shift' in the type of the statistics, so float32 data lose digits where
/// the mean is far larger than the deviation, as they do in PyTorch: about 3e-4 of a deviation at a mean of 10⁴.
struct LibtorchMomentKernels: MomentKernels {
  func moments(of x: Tensor) throws -> Moments {
    let planes = Planes(x)
    let parts = try planes.parts(of: x).map { try $0.channelMoments() }
    return Moments(
      mean: try planes.table(parts.map(\.mean)), variance: try planes.table(parts.map(\.variance)))
  }

  func scaleShift(_ x: Tensor, scale: Tensor, center: Tensor, shift: Tensor) throws -> Tensor {
    let planes = Planes(x)
    let (scales, centers, shifts) = (
      try planes.vectors(scale), try planes.vectors(center), try planes.vectors(shift)
    )
    return try planes.join(
      planes.parts(of: x).enumerated().map { index, part in
        try part.channelScaleShift(scale: scales[index], center: centers[index], shift: shifts[index])
      })
  }

  func reductions(gradient g: Tensor, x: Tensor, center: Tensor) throws -> GradientSums {
    let planes = Planes(x)
    let centers = try planes.vectors(center)
    let xs = try planes.parts(of: x)
    let parts = try planes.parts(of: g).enumerated().map { index, part in
      try part.channelProductSums(with: xs[index], center: centers[index])
    }
    return GradientSums(
      products: try planes.table(parts.map(\.products)), sums: try planes.table(parts.map(\.sums)))
  }

  func apply(gradient g: Tensor, x: Tensor, scale: Tensor, factor: Tensor, center: Tensor, shift: Tensor)
    throws -> Tensor
  {
    let result = try scaleShift(g, scale: scale, center: shift.zerosLike(), shift: shift)
    try result.add(scaleShift(x, scale: factor, center: center, shift: center.zerosLike()))
    return result
  }
}

/// How [N, C, spatial…] is cut into tensors whose channels are the (sample, channel) planes: one tensor
/// [1, N·C, positions] where channels lie before space, else one [1, C, spatial…] per sample.
private struct Planes {
  private let shape: [Int]
  private let format: MemoryFormat

  init(_ x: Tensor) {
    shape = x.shape
    format = x.denseFormat
  }

  private var isOnePart: Bool { format == .contiguous }

  func parts(of x: Tensor) throws -> [Tensor] {
    let dense = try x.contiguous(format)
    if isOnePart { return [try dense.reshaped([1, shape[0] * shape[1], -1])] }
    if shape[0] == 1 { return [dense] }
    return try (0..<shape[0]).map { try dense.sliced($0..<$0 + 1) }
  }

  func join(_ parts: [Tensor]) throws -> Tensor {
    if isOnePart { return try parts[0].reshapedAsFresh(shape) }
    return parts.count == 1 ? parts[0] : try Tensor.concatenate(parts, dimension: 0)
  }

  /// A table [N, C] as one vector per part.
  func vectors(_ table: Tensor) throws -> [Tensor] {
    if isOnePart { return [try table.reshaped([-1])] }
    return try (0..<shape[0]).map { try table.selected($0) }
  }

  func table(_ vectors: [Tensor]) throws -> Tensor {
    try (vectors.count == 1 ? vectors[0] : Tensor.concatenate(vectors, dimension: 0))
      .reshaped([shape[0], shape[1]])
  }
}

extension Tensor {
  /// The layout in which the data already lies without gaps; contiguous when it has to be copied.
  var denseFormat: MemoryFormat {
    if isContiguous(.contiguous) { return .contiguous }
    if rank == 4, isContiguous(.channelsLast) { return .channelsLast }
    if rank == 5, isContiguous(.channelsLast3d) { return .channelsLast3d }
    return .contiguous
  }
}
