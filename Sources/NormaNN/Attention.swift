import NormaTensor

/// Attention of several heads over sequences [N, T, features].
///
///     head_i = softmax(q_i k_iᵀ / √d) v_i,   d = features / heads
///
/// with q, k and v linear in the input, and one more linear layer over the heads side by side. Keys are PyTorch's:
/// `in_proj_weight` [3 · features, features] and `in_proj_bias` for q, k and v, `out_proj.weight`, `out_proj.bias`.
///
/// Vaswani et al. 2017, section 3.2.
public final class MultiHeadAttention: Module, Layer {
  public let features: Int
  public let heads: Int
  public let inProjWeight: Parameter
  public let inProjBias: Parameter
  public let outProj: Linear

  /// - Parameter generator: draws the weights: Glorot uniform before the heads, uniform within ±1/√features after them.
  /// - Throws: ``TensorError`` unless the heads divide the features.
  public init(features: Int, heads: Int, generator: Generator? = nil) throws {
    guard features > 0, heads > 0, features % heads == 0 else {
      throw TensorError(
        operation: "MultiHeadAttention",
        message: "a number of heads that divides the features was expected, got \(heads) heads for \(features) features"
      )
    }
    self.features = features
    self.heads = heads
    inProjWeight = try Parameter(Initializer.glorotUniform.tensor([3 * features, features], generator: generator))
    inProjBias = try Parameter(Tensor.zeros([3 * features]))
    outProj = try Linear(
      inputs: features, outputs: features, initializer: .uniform(bound: 1 / Double(features).squareRoot()),
      generator: generator)
  }

  /// Every step looks at all steps of its own sequence: [N, T, features] → the same shape.
  public func forward(_ input: Tensor) throws -> Tensor { try attend(input, to: input, mask: nil, isCausal: false) }

  /// [N, T, features] → the same shape. A step that sees none gets the output's bias.
  /// - Parameters:
  ///   - source: the sequences [N, S, features] that are looked at; nil for the input's own.
  ///   - mask: [N, S]; nonzero where the source has a valid step. Nil for everywhere.
  ///   - isCausal: step t sees the steps 0…t of the source alone.
  /// - Throws: ``TensorError`` for shapes that do not fit.
  public func callAsFunction(
    _ input: Tensor, to source: Tensor? = nil, mask: Tensor? = nil, isCausal: Bool = false
  ) throws -> Tensor {
    try observed(input) { try attend(input, to: source ?? input, mask: mask, isCausal: isCausal) }
  }

  private func attend(_ input: Tensor, to source: Tensor, mask: Tensor?, isCausal: Bool) throws -> Tensor {
    let (shape, sourceShape) = (input.shape, source.shape)
    guard shape.count == 3, sourceShape.count == 3, shape[0] == sourceShape[0], shape[2] == features,
      sourceShape[2] == features, input.count > 0, source.count > 0
    else {
      throw TensorError(
        operation: "MultiHeadAttention",
        message: "an input [N, T, \(features)] and a source [N, S, \(features)] were expected, got \(shape) and "
          + "\(sourceShape)")
    }
    if let mask, mask.shape != Array(sourceShape.prefix(2)) {
      throw TensorError(
        operation: "MultiHeadAttention",
        message: "a mask [N, S] of \(sourceShape.prefix(2)) was expected, got \(mask.shape)")
    }
    let extents = [features, features, features]
    let weights = try inProjWeight.value.to(dtype: input.dtype).split(extents, dimension: 0)
    let biases = try inProjBias.value.to(dtype: input.dtype).split(extents, dimension: 0)
    func project(_ x: Tensor, _ part: Int) throws -> Tensor {
      try x.linear(weight: weights[part], bias: biases[part])
        .reshaped([x.shape[0], x.shape[1], heads, features / heads]).transposed(1, 2)
    }
    var visible = try mask.map { try ($0 .!= 0).reshaped([sourceShape[0], 1, 1, sourceShape[1]]) }
    if isCausal {
      let (t, s) = (shape[1], sourceShape[1])
      let ahead =
        try Tensor.range(t, device: input.device).unsqueezed(1) - Tensor.range(s, device: input.device).unsqueezed(0)
      let past = try ahead .>= 0
      visible = try visible.map { try $0 * past } ?? past
    }
    let seen = try project(input, 0).attention(keys: project(source, 1), values: project(source, 2), mask: visible)
    return try outProj(seen.transposed(1, 2).reshaped(shape))
  }
}

/// A block of a transformer with its norms before the two branches:
///
///     x ← x + attention(norm1(x)),   x ← x + linear2(φ(linear1(norm2(x))))
///
/// [N, T, features] → the same shape. Keys are those of PyTorch's `TransformerEncoderLayer` (with `norm_first`): `self_attn`,
/// `linear1`, `linear2`, `norm1`, `norm2`.
///
/// Vaswani et al. 2017; norms first as in Xiong et al. 2020.
public final class TransformerBlock: Module, Layer, LayerContainer {
  public let selfAttn: MultiHeadAttention
  public let linear1: Linear
  public let activation: Activation
  public let linear2: Linear
  public private(set) var norm1: (any Layer)?
  public private(set) var norm2: (any Layer)?

  /// - Parameters:
  ///   - inner: outputs of `linear1`.
  ///   - norm: a norm for so many features, which takes and gives [rows, features], every step of every sequence being a row:
  ///     such as `Normalization.layer.cellLayer` of NormaNormalization; nil for none.
  public init(
    features: Int, heads: Int, inner: Int, activation: Activation = .gelu, generator: Generator? = nil,
    norm: (_ features: Int) throws -> (any Layer)?
  ) throws {
    selfAttn = try MultiHeadAttention(features: features, heads: heads, generator: generator)
    linear1 = try Linear(inputs: features, outputs: inner, generator: generator)
    linear2 = try Linear(inputs: inner, outputs: features, initializer: .glorotUniform, generator: generator)
    self.activation = activation
    norm1 = try norm(features)
    norm2 = try norm(features)
  }

  public func forward(_ input: Tensor) throws -> Tensor { try compute(input, mask: nil, isCausal: false) }

  /// As ``MultiHeadAttention/callAsFunction(_:to:mask:isCausal:)``.
  public func callAsFunction(_ input: Tensor, mask: Tensor? = nil, isCausal: Bool = false) throws -> Tensor {
    try observed(input) { try compute(input, mask: mask, isCausal: isCausal) }
  }

  private func compute(_ input: Tensor, mask: Tensor?, isCausal: Bool) throws -> Tensor {
    func normalized(_ x: Tensor, _ norm: (any Layer)?) throws -> Tensor {
      guard let norm, x.rank == 3 else { return x }
      return try norm(x.reshaped([-1, x.shape[2]])).reshaped(x.shape)
    }
    let x = try input + selfAttn(normalized(input, norm1), mask: mask, isCausal: isCausal)
    return try x + linear2(activation(linear1(normalized(x, norm2))))
  }

  public func replaceLayers(_ body: (any Layer) throws -> any Layer) rethrows {
    norm1 = try norm1.map(body)
    norm2 = try norm2.map(body)
  }
}
