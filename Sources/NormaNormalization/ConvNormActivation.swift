import NormaNN
import NormaTensor

/// Convolution (or transposed convolution) → normalization → activation, the block that networks are built of. Where there is a
/// kernel for both, normalization and activation are one pass over the data.
public final class ConvNormActivation: Module, Layer, LayerContainer {
  /// The first step. Its bias takes no pass over the data where the norm is a ``NormalizationLayer``.
  public let conv: any ConvolutionLayer
  /// The norm after the convolution, which ``replaceLayers(_:)`` may exchange; nil for none.
  public private(set) var norm: (any Layer)?
  /// The last step; a norm that is its own activation, such as ``EvoNorm``, takes its place.
  public let activation: Activation
  /// Every input value is repeated this many times along each spatial dimension before the convolution.
  public let upsampling: Int
  private var folded: FoldedBlock?

  /// Takes the layers as they are; whether their channels fit shows when the block is called.
  /// - Parameters:
  ///   - norm: a norm of as many channels as the convolution has outputs; nil for none.
  ///   - upsampling: see ``upsampling``; 1 leaves the input as it is.
  public init(
    _ conv: any ConvolutionLayer, norm: (any Layer)?, activation: Activation = .relu, upsampling: Int = 1
  ) {
    self.conv = conv
    self.norm = norm
    self.activation = activation
    self.upsampling = upsampling
  }

  /// [N, C in, spatial…] → [N, C out, spatial…]. Uses the folded convolution of `foldNormalization()` where that holds.
  /// - Throws: what the convolution and the norm throw for an input that they cannot take.
  public func forward(_ input: Tensor) throws -> Tensor {
    if let folded, takesShortcuts, !isTraining, !gradientsAreRecorded, folded.isCurrent {
      return try folded(input)
    }
    return try conv(input, norm: norm, activation: activation, upsampledBy: upsampling)
  }

  /// Prepares evaluation without gradients: a batch normalization becomes part of the convolution's weights, and these are
  /// laid out as the processor wants them. Holds until a parameter or a running statistic changes; training and
  /// differentiation are not affected. Blocks with other norms and transposed convolutions stay as they are.
  func fold() throws {
    folded = nil
    if let norm {
      guard (norm as? NormalizationLayer)?.foldableStatistics != nil else { return }
    }
    folded = try (conv as? Convolution).map { try FoldedBlock(self, $0) }
  }

  /// Whether the block ends with a ReLU: some norms take the place of the activation.
  package var isRectifying: Bool {
    activation == .relu && (norm as? NormalizationLayer)?.replacesActivation != true && !(norm is EvoNorm)
  }

  /// The norm of a block without an activation.
  public var layersWithoutActivation: [any Layer] { activation == .none ? [norm].compactMap { $0 } : [] }

  /// Hands out the norm alone, where there is one, and gives up what `foldNormalization()` prepared.
  public func replaceLayers(_ body: (any Layer) throws -> any Layer) rethrows {
    folded = nil
    norm = try norm.map(body)
  }
}

/// Observers and records see the layers as they are declared: a convolution with its bias, then the norm.
private var takesShortcuts: Bool { !LayerObserver.isObserving && !OperatorTrace.isRecording }

extension ConvolutionLayer {
  /// This convolution, then a norm of as many channels, then an activation, in as few passes over the data as there are kernels
  /// for: ``ConvNormActivation`` for networks that hold the layers themselves.
  /// - Parameter factor: every input value is repeated this many times along each spatial dimension first.
  public func callAsFunction(
    _ input: Tensor, norm: (any Layer)?, activation: Activation, upsampledBy factor: Int = 1
  ) throws -> Tensor {
    if let norm = norm as? NormalizationLayer, takesShortcuts {
      let convolved = try forward(input, upsampledBy: factor, addsBias: false)
      return try norm.forward(convolved, activation: activation, inputBias: bias?.value)
    }
    let convolved = try self(input, upsampledBy: factor)
    guard let norm else { return try activation.consuming(convolved) }
    return try norm(convolved, then: activation)
  }
}

extension Module {
  /// Prepares all ``ConvNormActivation`` blocks of the network for evaluation without gradients: batch normalization is
  /// folded into the convolution before it. Call it after `evaluate()`, and again once the parameters have changed; a
  /// block whose parameters have changed computes as if it had not been called.
  public func foldNormalization() throws {
    for (_, module) in namedModules() { try (module as? ConvNormActivation)?.fold() }
  }
}

extension NormalizationLayer {
  /// Of batch normalizations, frozen or with running statistics.
  fileprivate var foldableStatistics: (mean: Tensor, variance: Tensor)? {
    guard self is BatchNorm || self is FrozenBatchNorm, let kept = keptStatistics, let mean = kept.mean else {
      return nil
    }
    return (mean.value, kept.variance.value)
  }

  /// The convolution followed by this layer in evaluation mode, as one convolution: w a, (b − μ) a + β with
  /// a = γ / √(σ² + ε). Jacob et al. 2018, section 3.2.
  /// - Throws: ``NormalizationError`` when the convolution has another number of output channels, and for other norms than batch
  ///   normalization, frozen or with running statistics.
  public func folded(into conv: Convolution) throws -> Convolution {
    let (weight, bias) = try folded(weight: conv.effectiveWeight, bias: conv.bias?.value)
    return try Convolution(
      weight: weight, bias: bias, stride: conv.stride, padding: conv.padding, dilation: conv.dilation,
      groups: conv.groups)
  }

  /// The same for a linear layer of as many outputs.
  public func folded(into linear: Linear) throws -> Linear {
    let (weight, bias) = try folded(weight: linear.effectiveWeight, bias: linear.bias?.value)
    return try Linear(weight: weight, bias: bias)
  }

  private func folded(weight: Tensor, bias: Tensor?) throws -> (weight: Tensor, bias: Tensor) {
    guard let (mean, variance) = foldableStatistics else {
      throw NormalizationError(
        "only batch normalization, frozen or with running statistics, can be folded; got \(self)")
    }
    guard weight.shape[0] == channels else {
      throw NormalizationError(
        "batch normalization of \(channels) channels can be folded into a layer with as many outputs, got one "
          + "with \(weight.shape[0])")
    }
    return try withoutGradients {
      var scale = try (variance + epsilon).reciprocalSquareRoot()
      if let gamma = self.weight?.value { scale = try scale * gamma.to(dtype: scale.dtype) }
      var shift = try -mean
      if let bias { shift = try shift + bias.to(dtype: scale.dtype) }
      shift = try shift * scale
      if let beta = self.bias?.value { shift = try shift + beta.to(dtype: scale.dtype) }
      let spread = try scale.reshaped([channels] + weight.shape.dropFirst().map { _ in 1 })
      return (
        weight: try (weight.to(dtype: scale.dtype) * spread).to(dtype: weight.dtype).detached(),
        bias: try shift.to(dtype: weight.dtype).detached()
      )
    }
  }
}

/// What a block is in evaluation, for the parameters that it had when it was folded. No module: its weights are nobody's
/// parameters.
private final class FoldedBlock {
  private let conv: Convolution
  private let packed: PackedConvolution?
  private let activation: Activation
  private let upsampling: Int
  private let parameters: [Parameter]
  private let buffers: [Buffer]
  /// The tensors when folded; held so that their identities stay theirs.
  private let sources: [Tensor]
  private let states: [TensorState]

  init(_ block: ConvNormActivation, _ plain: Convolution) throws {
    conv = try (block.norm as? NormalizationLayer)?.folded(into: plain) ?? plain
    packed = block.upsampling == 1 ? PackedConvolution(conv, activation: block.activation) : nil
    activation = block.activation
    upsampling = block.upsampling
    parameters = block.parameters
    buffers = block.namedBuffers().map(\.buffer)
    sources = parameters.map(\.value) + buffers.map(\.value)
    states = sources.map(\.state)
  }

  var isCurrent: Bool { parameters.map(\.value.state) + buffers.map(\.value.state) == states }

  func callAsFunction(_ input: Tensor) throws -> Tensor {
    if let packed { return try packed(input) }
    return try activation.consuming(conv(input, upsampledBy: upsampling))
  }
}
