// What `--diagnose` measures inside a network; Documentation/Results.md describes every field.

/// What happened inside a network at one moment of its training, on one batch of training samples that is the same at every
/// moment. Normalizations are in training mode and dropout is off.
public struct DiagnosisRecord: Codable, Sendable, Equatable {
  /// After this epoch, from 1.
  public var epoch: Int
  /// What the measurement took; in no other time of the run.
  public var seconds: Double
  /// What the layers that normalize are given, and the places of such layers where there are none; in the order of
  /// computation.
  public var inputs: [LayerInputRecord]
  /// Every ReLU, in the order of computation.
  public var rectifiers: [RectifierRecord]
  /// Every weight that is a matrix or a kernel and not frozen, in the order of declaration.
  public var gradients: [GradientRecord]
  public var surface: LossSurfaceRecord
  /// The loss of the same batch in evaluation mode: against ``LossSurfaceRecord/loss``, what running statistics cost.
  public var evaluationLoss: Double

  public init(
    epoch: Int, seconds: Double, inputs: [LayerInputRecord], rectifiers: [RectifierRecord],
    gradients: [GradientRecord], surface: LossSurfaceRecord, evaluationLoss: Double
  ) {
    self.epoch = epoch
    self.seconds = seconds
    self.inputs = inputs
    self.rectifiers = rectifiers
    self.gradients = gradients
    self.surface = surface
    self.evaluationLoss = evaluationLoss
  }

  /// How many times larger the gradient of the first layer's weight is than that of the last one's: far below 1 where
  /// gradients vanish on their way back, far above where they explode; nil where the last one's is 0.
  public var gradientRatio: Double? {
    guard let first = gradients.first, let last = gradients.last, last.norm != 0 else { return nil }
    return first.norm / last.norm
  }
}

/// The input of one normalization layer. Logarithms are natural, and 10⁻⁵ is added to the variances in ratios and in σ, as
/// norms do.
public struct LayerInputRecord: Codable, Sendable, Equatable {
  /// Key of the layer in the network; of the block, where the layer is a block's.
  public var layer: String
  /// Over all values of the batch.
  public var mean: Double
  /// Over all values of the batch, biased.
  public var variance: Double
  /// Internal covariate shift since the moment before: |change of the mean| / σ before, mean over the channels; nil at
  /// the first moment.
  public var meanDrift: Double?
  /// |log of the variance now by that before|, mean over the channels; nil at the first moment.
  public var varianceDrift: Double?
  /// How far the batch's statistics are from the running ones that evaluation uses: |μ_batch − μ_running| / σ_running, mean over
  /// the channels; nil where a layer has or uses none.
  public var meanGap: Double?
  /// |log σ²_batch / σ²_running|, mean over the channels; nil where a layer has or uses none.
  public var varianceGap: Double?

  public init(
    layer: String, mean: Double, variance: Double, meanDrift: Double? = nil, varianceDrift: Double? = nil,
    meanGap: Double? = nil, varianceGap: Double? = nil
  ) {
    self.layer = layer
    self.mean = mean
    self.variance = variance
    self.meanDrift = meanDrift
    self.varianceDrift = varianceDrift
    self.meanGap = meanGap
    self.varianceGap = varianceGap
  }
}

/// What one ReLU gives.
public struct RectifierRecord: Codable, Sendable, Equatable {
  public var layer: String
  public var channels: Int
  /// Outputs of one channel on the batch: of few, all may be 0 by chance.
  public var valuesPerChannel: Int
  /// Channels whose output is 0 at every position of every sample.
  public var deadChannels: Int
  /// The share of the outputs that are 0.
  public var zeroShare: Double

  public init(layer: String, channels: Int, valuesPerChannel: Int, deadChannels: Int, zeroShare: Double) {
    self.layer = layer
    self.channels = channels
    self.valuesPerChannel = valuesPerChannel
    self.deadChannels = deadChannels
    self.zeroShare = zeroShare
  }
}

/// The gradient of one layer's weight.
public struct GradientRecord: Codable, Sendable, Equatable {
  public var layer: String
  /// Euclidean norm of the gradient.
  public var norm: Double
  /// Euclidean norm of the weight.
  public var weightNorm: Double

  public init(layer: String, norm: Double, weightNorm: Double) {
    self.layer = layer
    self.norm = norm
    self.weightNorm = weightNorm
  }
}

/// How smooth the loss is along plain gradient steps θ − t η g from where the network is.
public struct LossSurfaceRecord: Codable, Sendable, Equatable {
  /// η: the learning rate of the epoch's last step.
  public var learningRate: Double
  /// At θ.
  public var loss: Double
  /// Euclidean norm of the gradient g of all parameters at θ.
  public var gradientNorm: Double
  /// The steps t.
  public var steps: [Double]
  /// The loss after each of them.
  public var losses: [Double]
  /// β = ‖∇L(θ − η g) − ∇L(θ)‖ / ‖η g‖; nil where the step is 0.
  public var smoothness: Double?

  public init(
    learningRate: Double, loss: Double, gradientNorm: Double, steps: [Double], losses: [Double], smoothness: Double?
  ) {
    self.learningRate = learningRate
    self.loss = loss
    self.gradientNorm = gradientNorm
    self.steps = steps
    self.losses = losses
    self.smoothness = smoothness
  }
}

extension KeyedDecodingContainer {
  /// Records from before there were diagnoses have none.
  func decode(_ type: [DiagnosisRecord].Type, forKey key: Key) throws -> [DiagnosisRecord] {
    try decodeIfPresent(type, forKey: key) ?? []
  }
}
