import NormaTensor

/// The passes over the data by libtorch's batch-normalization operators, which treat every (sample, channel)
/// plane as a channel of its own: for the devices and types that have no kernels of Norma's.
///
/// libtorch's operators compute scale · x + shift' in the type of the statistics, so float32 data lose digits where
/// the mean is far larger than the deviation, as they do in PyTorch: about 3e-4 of a deviation at a mean of 10⁴.
struct LibtorchMomentKernels: MomentKernels {
  func shape(of x: Tensor, branches: [Branch], keepsSamples: Bool) -> MomentShape { MomentShape(x) }

  func forward(_ x: Tensor, _ mix: MomentMix, _ activation: FusedActivation) throws -> Tensor {
    if mix.looksAtData { try moments(of: x, into: mix) }
    mix.solve(mix.shape.whole)
    return try replay(x, mix, activation)
  }

  func moments(of x: Tensor, into mix: MomentMix) throws {
    let planes = Planes(x)
    let parts = try planes.parts(of: x).map { try $0.channelMoments() }
    try planes.read([parts.map(\.mean), parts.map(\.variance)], into: [mix.mean, mix.variance])
  }

  func replay(_ x: Tensor, _ mix: MomentMix, _ activation: FusedActivation) throws -> Tensor {
    let planes = Planes(x)
    let tables = try planes.vectors([mix.scale, mix.center, mix.shift], like: x)
    let output = try planes.join(planes.parts(of: x).enumerated().map { try $1.scaled(tables, $0) })
    switch activation {
    case .none: return output
    case .relu: return try output.reluInPlace()
    case .leakyReLU(let slope): return try output.leakyReLU(slope: slope)
    }
  }

  func backward(_ g: Tensor, x: Tensor, _ mix: MomentMix, _ gradient: MomentGradient, _ activation: FusedActivation)
    throws -> Tensor
  {
    let planes = Planes(x)
    let g = try through(activation, g, x, mix)
    let xs = try planes.parts(of: x)
    let gs = try planes.parts(of: g)
    let tables = try planes.vectors([mix.scale, mix.center], like: x)
    let sums = try gs.enumerated().map { try $1.channelProductSums(with: xs[$0], center: tables[1][$0]) }
    try planes.read([sums.map(\.products), sums.map(\.sums)], into: [gradient.products, gradient.sums])
    gradient.solve(mix.shape.whole)
    let factors = try planes.vectors([gradient.factor, mix.center, gradient.offset], like: x)
    let none = try tables[0].map { try $0.zerosLike() }
    let result = try planes.join(gs.enumerated().map { try $1.scaled([tables[0], none, none], $0) })
    try result.add(planes.join(xs.enumerated().map { try $1.scaled(factors, $0) }))
    return result
  }

  /// The gradient before the activation.
  private func through(_ activation: FusedActivation, _ g: Tensor, _ x: Tensor, _ mix: MomentMix) throws -> Tensor {
    let slope: Double
    switch activation {
    case .none: return g
    case .relu: slope = 0
    case .leakyReLU(let given): slope = given
    }
    let passes = try (replay(x, mix, .none) .> 0).to(dtype: g.dtype)
    return try g * (slope == 0 ? passes : passes * (1 - slope) + slope)
  }
}

extension Tensor {
  /// scale · (self − center) + shift for the tables [scale, center, shift] of one part.
  fileprivate func scaled(_ tables: [[Tensor]], _ part: Int) throws -> Tensor {
    try channelScaleShift(scale: tables[0][part], center: tables[1][part], shift: tables[2][part])
  }
}

/// How [N, C, spatial…] is cut into tensors whose channels are the (sample, channel) planes: one tensor
/// [1, N·C, positions] where channels lie before space, else one [1, C, spatial…] per sample.
private struct Planes {
  private let shape: [Int]
  private let format: MemoryFormat
  private let cells: Int

  init(_ x: Tensor) {
    shape = x.shape
    format = x.denseFormat
    cells = shape[0] * shape[1]
  }

  private var isOnePart: Bool { format == .contiguous }

  func parts(of x: Tensor) throws -> [Tensor] {
    let dense = try x.contiguous(format)
    if isOnePart { return [try dense.reshaped([1, cells, -1])] }
    if shape[0] == 1 { return [dense] }
    return try (0..<shape[0]).map { try dense.sliced($0..<$0 + 1) }
  }

  func join(_ parts: [Tensor]) throws -> Tensor {
    if isOnePart { return try parts[0].reshapedAsFresh(shape) }
    return parts.count == 1 ? parts[0] : try Tensor.concatenate(parts, dimension: 0)
  }

  /// Tables [N, C] as tensors on x's device, one per table and part; all in one transfer.
  func vectors(_ tables: [UnsafeMutablePointer<Double>], like x: Tensor) throws -> [[Tensor]] {
    let numbers = tables.flatMap { UnsafeBufferPointer(start: $0, count: cells) }
    let all = try Tensor(numbers, shape: [tables.count, cells]).to(dtype: x.dtype.accumulation).to(device: x.device)
    let parts = isOnePart ? 1 : shape[0]
    let extent = cells / parts
    return try tables.indices.map { table in
      let row = try all.selected(table)
      return try (0..<parts).map { try row.sliced($0 * extent..<($0 + 1) * extent) }
    }
  }

  /// The other way.
  func read(_ vectors: [[Tensor]], into tables: [UnsafeMutablePointer<Double>]) throws {
    let numbers: [Double] = try Tensor.concatenate(vectors.flatMap { $0 }, dimension: 0).array()
    for (index, table) in tables.enumerated() {
      for cell in 0..<cells { table[cell] = numbers[index * cells + cell] }
    }
  }
}
