import NormaTensor

/// The state of a recurrent network between two calls.
public struct RecurrentState: Sendable {
  /// h of every layer, its directions one after the other: [layers · directions, N, H].
  public var hidden: Tensor
  /// c of an LSTM, of the same shape; nil for a GRU.
  public var cell: Tensor?

  public init(hidden: Tensor, cell: Tensor? = nil) {
    self.hidden = hidden
    self.cell = cell
  }
}

/// What ``LSTM`` and ``GRU`` have in common: layers of cells that run over [N, T, features].
///
/// Keys are PyTorch's: `weight_ih_l0` [gates · H, in], `weight_hh_l0` [gates · H, H], `bias_ih_l0` and `bias_hh_l0`
/// [gates · H], `l1` for the second layer, `l0_reverse` for the direction from the end to the start. A cell with norms has no
/// `bias_hh`, since its sums come from two norms and one bias shifts both; it has the norms' own state under `norm_ih_l0`, ….
///
/// Without norms libtorch's fused operators compute, else the cells are unrolled over time.
public class RecurrentLayer: Module, Layer {
  /// Features of every step of the input.
  public let inputs: Int
  /// H.
  public let hidden: Int
  public let layers: Int
  /// Whether a second set of cells runs from the end to the start; its outputs follow the first one's.
  public let isBidirectional: Bool

  private let cells: [RecurrentCell]

  /// Blocks of H rows in the weights.
  class var gates: Int { preconditionFailure("a subclass states its gates") }

  final var directions: Int { isBidirectional ? 2 : 1 }

  /// - Parameter norms: the norms of a cell; all nil for a plain one.
  fileprivate init(
    inputs: Int, hidden: Int, layers: Int, bidirectional: Bool, generator: Generator?,
    norms: () throws -> RecurrentCell.Norms
  ) throws {
    guard inputs > 0, hidden > 0, layers > 0 else {
      throw TensorError(
        operation: "\(Self.self)",
        message: "inputs, hidden units and layers of at least 1 were expected, got \(inputs), \(hidden) and \(layers)")
    }
    self.inputs = inputs
    self.hidden = hidden
    self.layers = layers
    isBidirectional = bidirectional
    let suffixes = bidirectional ? ["", "_reverse"] : [""]
    cells = try (0..<layers).flatMap { layer in
      try suffixes.map { suffix in
        try RecurrentCell(
          suffix: "_l\(layer)\(suffix)", inputs: layer == 0 ? inputs : hidden * suffixes.count, hidden: hidden,
          gates: Self.gates, norms: norms(), generator: generator)
      }
    }
  }

  /// The fused operator.
  fileprivate func fused(_ input: Tensor, _ state: RecurrentState, _ parameters: [Tensor]) throws
    -> (output: Tensor, state: RecurrentState)
  {
    preconditionFailure("a subclass has an operator")
  }

  /// One step of a cell: from what comes of the input and of the last state [N, gates · H] to the next state [N, H].
  fileprivate func step(_ fromInput: Tensor, _ fromState: Tensor, _ state: RecurrentState, _ cell: RecurrentCell) throws
    -> RecurrentState
  {
    preconditionFailure("a subclass states its equations")
  }

  /// Whether there is a state c beside h.
  fileprivate class var hasCellState: Bool { false }

  /// [N, T, inputs] → [N, T, H · directions], from a state of zeros.
  public func forward(_ input: Tensor) throws -> Tensor { try run(input, nil).output }

  /// [N, T, inputs] → [N, T, H · directions] and the state after the last step (the first one for the way back).
  /// - Parameter state: where to start; nil means zeros.
  /// - Throws: ``TensorError`` for an input or a state of another shape.
  public final func callAsFunction(_ input: Tensor, from state: RecurrentState?) throws
    -> (output: Tensor, state: RecurrentState)
  {
    var last: RecurrentState?
    let output = try observed(input) {
      let result = try run(input, state)
      last = result.state
      return result.output
    }
    return (output, last!)
  }

  private func run(_ input: Tensor, _ state: RecurrentState?) throws -> (output: Tensor, state: RecurrentState) {
    let shape = input.shape
    guard shape.count == 3, shape[2] == inputs, input.count > 0, input.dtype.isFloatingPoint else {
      throw TensorError(
        operation: "\(Self.self)",
        message: "an input [N, T, \(inputs)] of floating point with at least one step was expected, got \(input.dtype) "
          + "\(shape)")
    }
    let stateShape = [layers * directions, shape[0], hidden]
    if let state {
      let shapes = [state.hidden.shape] + (state.cell.map { [$0.shape] } ?? [])
      guard shapes == Array(repeating: stateShape, count: Self.hasCellState ? 2 : 1) else {
        throw TensorError(
          operation: "\(Self.self)",
          message: "a state of \(Self.hasCellState ? "hidden and cell" : "hidden alone"), each \(stateShape), was "
            + "expected, got " + shapes.map { "\($0)" }.joined(separator: " and "))
      }
    }
    // A recording takes the operators that other formats have.
    guard cells[0].norms.isEmpty, !OperatorTrace.isRecording else { return try unrolled(input, state) }
    let zeros = try state == nil ? Tensor.zeros(stateShape, dtype: input.dtype, device: input.device) : nil
    let start = state ?? RecurrentState(hidden: zeros!, cell: Self.hasCellState ? zeros : nil)
    return try fused(
      input, start, cells.flatMap { try $0.parameters.map { try $0.value.to(dtype: input.dtype) } })
  }

  private func unrolled(_ input: Tensor, _ state: RecurrentState?) throws -> (output: Tensor, state: RecurrentState) {
    // Steps first, so that every step is one piece of memory.
    var sequence = try input.transposed(0, 1)
    let steps = sequence.shape[0]
    // One row, which broadcasts: what follows is free of the number of samples.
    let zeros = try Tensor.zeros([1, hidden], dtype: input.dtype, device: input.device)
    var ends: [RecurrentState] = []
    for layer in 0..<layers {
      let ways = try (0..<directions).map { direction in
        let index = layer * directions + direction
        let cell = cells[index]
        let fromInput = try cell.fromInput(sequence).split(Array(repeating: 1, count: steps), dimension: 0)
        var now = RecurrentState(hidden: zeros, cell: Self.hasCellState ? zeros : nil)
        if let state {
          now = RecurrentState(hidden: try state.hidden.selected(index), cell: try state.cell?.selected(index))
        }
        var outputs: [Tensor] = []
        for time in 0..<steps {
          let part = try fromInput[direction == 0 ? time : steps - 1 - time].squeezed(0)
          now = try step(part, cell.fromState(now.hidden), now, cell)
          outputs.append(now.hidden)
        }
        ends.append(now)
        return try Tensor.stack(direction == 0 ? outputs : outputs.reversed())
      }
      sequence = directions == 1 ? ways[0] : try Tensor.concatenate(ways, dimension: 2)
    }
    return (
      try sequence.transposed(0, 1),
      RecurrentState(
        hidden: try Tensor.stack(ends.map(\.hidden)),
        cell: Self.hasCellState ? try Tensor.stack(ends.compactMap(\.cell)) : nil)
    )
  }
}

/// One direction of one layer: its parameters, and its norms where it has any.
final class RecurrentCell: SuffixedMembers {
  let weightIh: Parameter
  let weightHh: Parameter
  let biasIh: Parameter
  let biasHh: Parameter?
  private let normIh: (any Layer)?
  private let normHh: (any Layer)?
  private let normIn: (any Layer)?
  private let normHn: (any Layer)?
  fileprivate let normC: (any Layer)?
  let keySuffix: String
  private let hidden: Int

  struct Norms {
    /// Of the sums over input and over state that the gates take.
    var ih, hh: (any Layer)?
    /// Of the same sums of a GRU's candidate; nil where the former take all blocks.
    var `in`, hn: (any Layer)?
    /// Of an LSTM's cell state.
    var c: (any Layer)?

    var isEmpty: Bool { ih == nil }
  }

  var norms: Norms { Norms(ih: normIh, hh: normHh, in: normIn, hn: normHn, c: normC) }

  var parameters: [Parameter] { [weightIh, weightHh, biasIh] + (biasHh.map { [$0] } ?? []) }

  init(suffix: String, inputs: Int, hidden: Int, gates: Int, norms: Norms, generator: Generator?) throws {
    keySuffix = suffix
    self.hidden = hidden
    let initializer = Initializer.uniform(bound: 1 / Double(hidden).squareRoot())
    func draw(_ shape: [Int]) throws -> Parameter { try Parameter(initializer.tensor(shape, generator: generator)) }
    weightIh = try draw([gates * hidden, inputs])
    weightHh = try draw([gates * hidden, hidden])
    biasIh = try draw([gates * hidden])
    // Drawn in any case: networks of one seed start from the same weights whatever their norm.
    let second = try draw([gates * hidden])
    biasHh = norms.isEmpty ? second : nil
    (normIh, normHh, normIn, normHn, normC) = (norms.ih, norms.hh, norms.in, norms.hn, norms.c)
  }

  /// What a sequence [T, N, in] gives to the sums, all steps at once: [T, N, gates · H].
  fileprivate func fromInput(_ sequence: Tensor) throws -> Tensor {
    let sums = try sequence.linear(weight: weightIh.value.to(dtype: sequence.dtype))
    let shape = sums.shape
    // Every step of every sample stands alone.
    let rows = try normIh == nil ? sums : normalized(sums.reshaped([-1, shape[2]]), normIh, normIn).reshaped(shape)
    return try rows + biasIh.value.to(dtype: sequence.dtype)
  }

  /// What the state [N, H] gives to the sums: [N, gates · H].
  fileprivate func fromState(_ state: Tensor) throws -> Tensor {
    let sums = try state.linear(
      weight: weightHh.value.to(dtype: state.dtype), bias: biasHh?.value.to(dtype: state.dtype))
    return try normalized(sums, normHh, normHn)
  }

  /// Norms are part of the cell and not seen by observers, which would get them once per step.
  private func normalized(_ sums: Tensor, _ norm: (any Layer)?, _ candidate: (any Layer)?) throws -> Tensor {
    guard let norm else { return sums }
    guard let candidate else { return try norm.forward(sums) }
    let parts = try sums.split([sums.shape[1] - hidden, hidden], dimension: 1)
    return try Tensor.concatenate([norm.forward(parts[0]), candidate.forward(parts[1])], dimension: 1)
  }
}

/// Long short-term memory, plain or with norms inside the cell.
///
///     (i, f, g, o) = LN(W_ih x_t) + b_ih + LN(W_hh h_{t−1}) + b_hh
///     c_t = σ(f) ⊙ c_{t−1} + σ(i) ⊙ tanh(g),   h_t = σ(o) ⊙ tanh(LN(c_t))
///
/// Input [N, T, inputs] → [N, T, H · directions]; for keys see ``RecurrentLayer``. A plain one has no LN and is PyTorch's. With
/// norms b_hh is left out, and there are `norm_ih_l0` and `norm_hh_l0`, each over all 4H sums of a step (as printed in the
/// paper; groups in a multiple of 4 keep the gates apart), and `norm_c_l0` over H. The state c that goes on to the next step is not normalized.
///
/// Hochreiter & Schmidhuber 1997 with the forget gate of Gers et al. 2000; norms as in Ba et al. 2016, supplement, eq. 20–22.
public final class LSTM: RecurrentLayer {
  /// - Parameters:
  ///   - forgetBias: what the two biases of the forget gate add up to at the start, as 1 in Jozefowicz et al. 2015; nil draws
  ///     them like the others.
  ///   - generator: draws weights and biases, uniform within ±1/√hidden.
  ///   - norm: a norm for so many features, which takes and gives [N, features] and measures every sample alone, such as
  ///     `Normalization.layer.cellLayer` of NormaNormalization; nil leaves the cell plain.
  /// - Throws: ``TensorError`` for a number below 1; what `norm` throws.
  public init(
    inputs: Int, hidden: Int, layers: Int = 1, bidirectional: Bool = false, forgetBias: Double? = nil,
    generator: Generator? = nil, norm: (_ features: Int) throws -> (any Layer)? = { _ in nil }
  ) throws {
    try super.init(
      inputs: inputs, hidden: hidden, layers: layers, bidirectional: bidirectional, generator: generator
    ) {
      try RecurrentCell.Norms(ih: norm(4 * hidden), hh: norm(4 * hidden), c: norm(hidden))
    }
    guard let forgetBias else { return }
    for (key, parameter) in namedParameters() where key.hasPrefix("bias") {
      try parameter.value.detached().sliced(hidden..<2 * hidden).fill(key.hasPrefix("bias_ih") ? forgetBias : 0)
    }
  }

  override class var gates: Int { 4 }
  override fileprivate class var hasCellState: Bool { true }

  override fileprivate func fused(_ input: Tensor, _ state: RecurrentState, _ parameters: [Tensor]) throws
    -> (output: Tensor, state: RecurrentState)
  {
    let result = try input.lstm(
      hidden: state.hidden, cell: state.cell!, parameters: parameters, layers: layers, bidirectional: isBidirectional,
      training: gradientsAreRecorded)
    return (result.output, RecurrentState(hidden: result.hidden, cell: result.cell))
  }

  override fileprivate func step(
    _ fromInput: Tensor, _ fromState: Tensor, _ state: RecurrentState, _ cell: RecurrentCell
  ) throws -> RecurrentState {
    let sums = try (fromInput + fromState).split(Array(repeating: hidden, count: 4), dimension: 1)
    let memory = try sums[1].sigmoid() * state.cell! + sums[0].sigmoid() * sums[2].tanh()
    let shown = try cell.normC.map { try $0.forward(memory) } ?? memory
    return RecurrentState(hidden: try sums[3].sigmoid() * shown.tanh(), cell: memory)
  }
}

/// Gated recurrent unit, plain or with norms inside the cell.
///
///     (r, z) = σ(LN(W_ih x_t) + b_ih + LN(W_hh h_{t−1}) + b_hh)
///     n = tanh(LN(W_in x_t) + b_in + r ⊙ (LN(W_hn h_{t−1}) + b_hn)),   h_t = (1 − z) ⊙ n + z ⊙ h_{t−1}
///
/// Input [N, T, inputs] → [N, T, H · directions]; for keys see ``RecurrentLayer``; the rows of the weights are those of r, z and
/// n. A plain one has no LN and is PyTorch's. With norms b_hh and b_hn are left out, and there are `norm_ih_l0` and `norm_hh_l0`
/// over the 2H sums of the gates of a step, `norm_in_l0` and `norm_hn_l0` over the H sums of the candidate.
///
/// Cho et al. 2014; norms as in Ba et al. 2016, supplement, eq. 23–25, where z and 1 − z have each other's place.
public final class GRU: RecurrentLayer {
  /// - Parameters:
  ///   - generator: draws weights and biases, uniform within ±1/√hidden.
  ///   - norm: a norm for so many features, as for ``LSTM``; nil leaves the cell plain.
  /// - Throws: ``TensorError`` for a number below 1; what `norm` throws.
  public init(
    inputs: Int, hidden: Int, layers: Int = 1, bidirectional: Bool = false, generator: Generator? = nil,
    norm: (_ features: Int) throws -> (any Layer)? = { _ in nil }
  ) throws {
    try super.init(
      inputs: inputs, hidden: hidden, layers: layers, bidirectional: bidirectional, generator: generator
    ) {
      try RecurrentCell.Norms(ih: norm(2 * hidden), hh: norm(2 * hidden), in: norm(hidden), hn: norm(hidden))
    }
  }

  override class var gates: Int { 3 }

  override fileprivate func fused(_ input: Tensor, _ state: RecurrentState, _ parameters: [Tensor]) throws
    -> (output: Tensor, state: RecurrentState)
  {
    let result = try input.gru(
      hidden: state.hidden, parameters: parameters, layers: layers, bidirectional: isBidirectional,
      training: gradientsAreRecorded)
    return (result.output, RecurrentState(hidden: result.hidden))
  }

  override fileprivate func step(
    _ fromInput: Tensor, _ fromState: Tensor, _ state: RecurrentState, _ cell: RecurrentCell
  ) throws -> RecurrentState {
    let extents = [2 * hidden, hidden]
    let (x, h) = (try fromInput.split(extents, dimension: 1), try fromState.split(extents, dimension: 1))
    let gates = try (x[0] + h[0]).sigmoid().split([hidden, hidden], dimension: 1)
    let candidate = try (x[1] + gates[0] * h[1]).tanh()
    return RecurrentState(hidden: try candidate + gates[1] * (state.hidden - candidate))
  }
}
