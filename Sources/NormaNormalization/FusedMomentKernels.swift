import CMomentKernels
import NormaTensor

/// The passes over the data on the CPU: vector loops on libtorch's threads, over data that stay in the layout in
/// which they came.
///
/// Work is cut into pieces that depend on the shape alone and whose sums are added in a fixed order, so results do
/// not depend on the number of threads. Where the parts that share statistics are small enough for a core's
/// cache, each is finished while it is there, which saves reading it from memory again.
struct FusedMomentKernels: MomentKernels {
  let instructionSet: InstructionSet
  /// Results of more bytes than this are stored past the cache.
  var streamsAbove = ProcessorCache.shared / 4

  /// The kernels for this processor.
  static let best: Result<FusedMomentKernels, NormalizationError> = InstructionSet.current.map {
    FusedMomentKernels(instructionSet: $0)
  }

  static func supports(_ x: Tensor) -> Bool { x.device == .cpu && type(of: x) != nil }

  private static func type(of x: Tensor) -> MKType? {
    switch x.dtype {
    case .float32: MKFloat32
    case .bfloat16: MKBFloat16
    case .float64: MKFloat64
    default: nil
    }
  }

  func shape(of x: Tensor, branches: [Branch], keepsSamples: Bool) -> MomentShape {
    var shape = MomentShape(x)
    let ignoresSamples = !keepsSamples && branches.allSatisfy { [nil, .batch, .synchronized].contains($0.partition) }
    if ignoresSamples, Layout(x) == .rows {
      shape.positions *= shape.samples
      shape.samples = 1
    }
    return shape
  }

  func forward(_ x: Tensor, _ mix: MomentMix, _ activation: FusedActivation) throws -> Tensor {
    try withSweep(x, mix, activation) { sweep in
      if mix.looksAtData {
        sweep.twoPasses(
          bytesPerValue: sweep.bytesPerValue, moments: sweep.moments, solve: mix.solve, apply: sweep.scale)
      } else {
        mix.solve(mix.shape.whole)
        sweep.everything(sweep.scale)
      }
    }
  }

  func replay(_ x: Tensor, _ mix: MomentMix, _ activation: FusedActivation) throws -> Tensor {
    try withSweep(x, mix, activation) { $0.everything($0.scale) }
  }

  func moments(of x: Tensor, into mix: MomentMix) throws {
    try withSweep(x, mix, .none, writes: false) { sweep in
      let owners = sweep.layout == .runs ? mix.shape.cells : mix.shape.samples
      sweep.reduceAll(0..<owners, sweep.moments)
    }
  }

  func backward(_ g: Tensor, x: Tensor, _ mix: MomentMix, _ gradient: MomentGradient, _ activation: FusedActivation)
    throws -> Tensor
  {
    try withSweep(x, mix, activation, g, gradient) { sweep in
      sweep.twoPasses(
        bytesPerValue: 2 * sweep.bytesPerValue, moments: sweep.reduce, solve: gradient.solve, apply: sweep.apply)
    }
  }

  /// Calls the body with everything a pass needs; returns the tensor that it writes, or x if it writes none.
  @discardableResult private func withSweep(
    _ x: Tensor, _ mix: MomentMix, _ activation: FusedActivation, _ g: Tensor? = nil,
    _ gradient: MomentGradient? = nil, writes: Bool = true, _ body: (Sweep) -> Void
  ) throws -> Tensor {
    guard let type = Self.type(of: x) else {
      throw NormalizationError("the CPU's kernels take float32, bfloat16 or float64, got \(x.dtype)")
    }
    let format = x.denseFormat
    let x = try x.contiguous(format)
    var g = try g?.to(dtype: x.dtype)
    var gradientChannels = mix.shape.channels
    if let given = g {
      // A part of a concatenation's gradient is read where it lies.
      if let pitch = given.rowPitch, Layout(x) == .rows, format != .contiguous,
        mix.shape.channels % Int(MKRowUnit) == 0
      {
        gradientChannels = pitch
      } else {
        g = try given.contiguous(format)
      }
    }
    let output = writes ? try x.emptyLike() : x
    let layout = Layout(x)
    try x.withDataPointer { source in
      try output.withDataPointer { target in
        func sweep(_ incoming: UnsafeMutableRawPointer?) {
          body(
            Sweep(
              kernels: instructionSet.kernels(for: type), bytesPerValue: x.dtype.size, layout: layout, mix: mix,
              gradient: gradient, activation: MKActivation(activation), x: UnsafeRawPointer(source),
              g: incoming.map { UnsafeRawPointer($0) }, gradientChannels: gradientChannels,
              streamsAbove: streamsAbove, output: target))
        }
        if let g { try g.withDataPointer { sweep($0) } } else { sweep(nil) }
      }
    }
    return output
  }
}

/// How the values of a plane lie.
private enum Layout {
  /// One after the other.
  case runs
  /// One per row of channels.
  case rows

  init(_ x: Tensor) {
    // Planes of one value are rows too, and faster so.
    let isFlat = x.shape.dropFirst(2).allSatisfy { $0 == 1 }
    self = x.denseFormat == .contiguous && !isFlat ? .runs : .rows
  }
}

/// One evaluation of the kernels: pointers, and how the work is cut.
private struct Sweep: @unchecked Sendable {
  let kernels: MKKernels
  let bytesPerValue: Int
  let layout: Layout
  let mix: MomentMix
  let gradient: MomentGradient?
  let activation: MKActivation
  let x: UnsafeRawPointer
  let g: UnsafeRawPointer?
  /// Values from one row of g to the next.
  let gradientChannels: Int
  let streamsAbove: Int
  let output: UnsafeMutableRawPointer

  /// Values of one piece of work: large enough that starting it costs nothing, small enough for a core's cache.
  private static let pieceValues = 1 << 16
  /// Below this many values the threads cost more than they bring.
  private static let parallelValues = 1 << 15

  private var shape: MomentShape { mix.shape }
  private var values: Int { shape.cells * shape.positions }

  /// A piece of a plane (in runs) or of a sample (in rows): positions begin..<end.
  struct Piece {
    /// Index of the plane or the sample.
    let owner: Int
    let begin: Int
    let end: Int
  }

  /// Into how many pieces a plane or sample is cut.
  private var pieces: Int {
    let width = layout == .runs ? 1 : shape.channels
    return max(1, min(shape.positions, (shape.positions * width + Self.pieceValues - 1) / Self.pieceValues))
  }

  private func piece(_ index: Int, of owner: Int) -> Piece {
    // Multiples of 64 keep the pieces' addresses aligned where the tensor is.
    let unit = shape.positions >= 64 * pieces ? 64 : 1
    func bound(_ index: Int) -> Int {
      index == pieces ? shape.positions : (shape.positions * index / pieces + unit - 1) / unit * unit
    }
    return Piece(owner: owner, begin: bound(index), end: bound(index + 1))
  }

  // MARK: Order of the work

  /// What pass 1 writes for a piece: two sums per plane.
  typealias Found = (first: UnsafeMutablePointer<Double>, second: UnsafeMutablePointer<Double>)

  /// A pass that finds something, the algebra, and a pass that writes; block by block where that saves memory traffic.
  /// - Parameter bytesPerValue: of all that the first pass reads and the second reads again.
  func twoPasses(
    bytesPerValue: Int, moments: Reduction, solve: (TableBlock) -> Void, apply: (Piece, Bool) -> Void
  ) {
    let blocks = PartitionBlocks(mix.branches.compactMap(\.partition), mix.shape)
    let isLarge = values * self.bytesPerValue > streamsAbove
    let owners = layout == .runs ? shape.cells : shape.samples
    switch layout {
    case _ where mix.recipe.synchronization != nil:
      wholePasses(0..<owners, shape.whole, moments, solve, apply, isLarge)
    case .runs where blocks.areEnough && blocks.stayInCache(bytesPerValue: bytesPerValue):
      parallel(blocks.count) { range in
        for index in range {
          let block = blocks[index]
          for n in block.samples {
            for cell in block.cells(ofSample: n) { reducePlane(cell, moments) }
          }
          solve(block)
          for n in block.samples.reversed() {
            for cell in block.cells(ofSample: n).reversed() {
              for index in (0..<pieces).reversed() { apply(piece(index, of: cell), isLarge) }
            }
          }
        }
      }
    case .rows
    where !blocks.spansSamples && shape.samples > 1
      && shape.channels * shape.positions * bytesPerValue <= ProcessorCache.shared / 2
      // Every sample keeps all threads busy.
      && pieces >= Runtime.threads:
      for n in 0..<shape.samples {
        let sample = TableBlock(shape: shape, samples: n..<n + 1, channels: 0..<shape.channels)
        wholePasses(n..<n + 1, sample, moments, solve, apply, isLarge)
      }
    default:
      wholePasses(0..<owners, shape.whole, moments, solve, apply, isLarge)
    }
  }

  /// One pass over all data, in parallel.
  func everything(_ apply: (Piece, Bool) -> Void) {
    let owners = layout == .runs ? shape.cells : shape.samples
    let isLarge = values * bytesPerValue > streamsAbove
    parallel(owners * pieces) { range in
      for task in range { apply(piece(task % pieces, of: task / pieces), isLarge) }
    }
  }

  private func wholePasses(
    _ owners: Range<Int>, _ block: TableBlock, _ moments: Reduction, _ solve: (TableBlock) -> Void,
    _ apply: (Piece, Bool) -> Void, _ isLarge: Bool
  ) {
    reduceAll(owners, moments)
    solve(block)
    // From the end: what the first pass read last is still in the cache.
    let pieces = pieces
    parallel(owners.count * pieces) { range in
      for task in range.reversed() {
        apply(piece(task % pieces, of: owners.lowerBound + task / pieces), isLarge)
      }
    }
  }

  /// The first pass over the given planes or samples.
  func reduceAll(_ owners: Range<Int>, _ moments: Reduction) {
    let pieces = pieces
    let width = layout == .runs ? 1 : shape.channels
    let tasks = owners.count * pieces
    // With one piece per owner the results go where they belong; else they are gathered first.
    let scratch = pieces == 1 ? nil : UnsafeMutablePointer<Double>.allocate(capacity: 2 * tasks * width)
    defer { scratch?.deallocate() }
    parallel(tasks) { range in
      for task in range {
        let owner = owners.lowerBound + task / pieces
        let found: Found =
          scratch.map { ($0 + 2 * task * width, $0 + (2 * task + 1) * width) }
          ?? (moments.first + owner * width, moments.second + owner * width)
        moments.piece(piece(task % pieces, of: owner), found)
      }
    }
    for owner in owners {
      let target: Found = (moments.first + owner * width, moments.second + owner * width)
      if let scratch {
        for index in 0..<pieces {
          let place = scratch + 2 * ((owner - owners.lowerBound) * pieces + index) * width
          merge(moments, (place, place + width), piece(index, of: owner), into: target, width)
        }
      }
      if let divisor = moments.divisor {
        for c in 0..<width { target.second[c] *= divisor }
      }
    }
  }

  private func reducePlane(_ plane: Int, _ moments: Reduction) {
    let target: Found = (moments.first + plane, moments.second + plane)
    if pieces == 1 {
      moments.piece(piece(0, of: plane), target)
    } else {
      withUnsafeTemporaryAllocation(of: Double.self, capacity: 2) { memory in
        let found: Found = (memory.baseAddress!, memory.baseAddress! + 1)
        for index in 0..<pieces {
          let part = piece(index, of: plane)
          moments.piece(part, found)
          merge(moments, found, part, into: target, 1)
        }
      }
    }
    if let divisor = moments.divisor { target.second[0] *= divisor }
  }

  private func merge(_ moments: Reduction, _ found: Found, _ piece: Piece, into target: Found, _ width: Int) {
    if piece.begin == 0 {
      target.first.update(from: found.first, count: width)
      target.second.update(from: found.second, count: width)
    } else if moments.divisor != nil {
      mk_merge(
        target.first, target.second, Int64(piece.begin), found.first, found.second, Int64(piece.end - piece.begin),
        Int64(width))
    } else {
      for c in 0..<width {
        target.first[c] += found.first[c]
        target.second[c] += found.second[c]
      }
    }
  }

  private func parallel(_ tasks: Int, _ body: (Range<Int>) -> Void) {
    if values < Self.parallelValues { body(0..<tasks) } else { Runtime.parallel(tasks: tasks, body) }
  }

  // MARK: The passes

  /// A pass that ends in two numbers per plane.
  struct Reduction {
    let first: UnsafeMutablePointer<Double>
    let second: UnsafeMutablePointer<Double>
    /// What the second is multiplied with at the end; nil for plain sums, else the two are mean and squares.
    let divisor: Double?
    let piece: (Piece, Found) -> Void
  }

  var moments: Reduction {
    Reduction(first: mix.mean, second: mix.variance, divisor: 1 / Double(shape.positions)) { piece, found in
      let x = x + offset(piece)
      switch layout {
      case .runs: kernels.run_moments(x, length(piece), found.first, found.second)
      case .rows: kernels.rows_moments(x, length(piece), Int64(shape.channels), found.first, found.second)
      }
    }
  }

  var reduce: Reduction {
    Reduction(first: gradient!.products, second: gradient!.sums, divisor: nil) { piece, found in
      let (x, g) = (x + offset(piece), g! + offset(piece, channels: gradientChannels))
      switch layout {
      case .runs:
        kernels.run_reduce(g, x, length(piece), affine(piece), activation, found.first, found.second)
      case .rows:
        kernels.rows_reduce(
          g, x, length(piece), Int64(shape.channels), Int64(gradientChannels), affine(piece), activation, found.first,
          found.second)
      }
    }
  }

  func scale(_ piece: Piece, _ stream: Bool) {
    let (x, y) = (x + offset(piece), output + offset(piece))
    switch layout {
    case .runs: kernels.run_scale(x, y, length(piece), affine(piece), activation, stream)
    case .rows: kernels.rows_scale(x, y, length(piece), Int64(shape.channels), affine(piece), activation, stream)
    }
  }

  func apply(_ piece: Piece, _ stream: Bool) {
    let (x, g, dx) = (x + offset(piece), g! + offset(piece, channels: gradientChannels), output + offset(piece))
    let first = firstCell(piece)
    let slope = MKSlope(factor: gradient!.factor + first, offset: gradient!.offset + first)
    switch layout {
    case .runs: kernels.run_apply(g, x, dx, length(piece), affine(piece), slope, activation, stream)
    case .rows:
      kernels.rows_apply(
        g, x, dx, length(piece), Int64(shape.channels), Int64(gradientChannels), affine(piece), slope, activation,
        stream)
    }
  }

  private func length(_ piece: Piece) -> Int64 { Int64(piece.end - piece.begin) }

  /// Bytes from the start of the tensor.
  /// - Parameter channels: values from one row to the next.
  private func offset(_ piece: Piece, channels: Int) -> Int {
    (piece.owner * shape.positions + piece.begin) * (layout == .runs ? 1 : channels) * bytesPerValue
  }

  private func offset(_ piece: Piece) -> Int { offset(piece, channels: shape.channels) }

  private func firstCell(_ piece: Piece) -> Int { layout == .runs ? piece.owner : piece.owner * shape.channels }

  private func affine(_ piece: Piece) -> MKAffine {
    let first = firstCell(piece)
    return MKAffine(scale: mix.scale + first, center: mix.center + first, shift: mix.shift + first)
  }
}

extension MKActivation {
  fileprivate init(_ activation: FusedActivation) {
    switch activation {
    case .none: self.init(kind: MKNoActivation, slope: 0)
    case .relu: self.init(kind: MKReLU, slope: 0)
    case .leakyReLU(let slope): self.init(kind: MKLeakyReLU, slope: slope)
    }
  }
}

extension Tensor {
  /// For [N, C, H, W] whose channels lie next to each other and whose rows of channels all lie equally far apart: that
  /// distance; else nil.
  fileprivate var rowPitch: Int? {
    let (shape, strides) = (shape, strides)
    guard shape.count == 4, strides[1] == 1, shape[3] > 1, strides[3] >= shape[1],
      shape[2] == 1 || strides[2] == shape[3] * strides[3],
      shape[0] == 1 || strides[0] == shape[2] * shape[3] * strides[3]
    else { return nil }
    return strides[3]
  }
}
