import NormaData
import NormaNN
import NormaTensor

/// What a segmentation network is trained to minimize.
public struct SegmentationLoss: Sendable, Equatable {
  public enum Kind: String, Sendable, CaseIterable {
    /// Binary cross-entropy for two classes, categorical for more.
    case crossEntropy = "cross-entropy"
    case dice
    /// The sum of both.
    case crossEntropyAndDice = "cross-entropy+dice"
  }

  public var kind: Kind
  /// One weight per class, or nil for equal ones.
  public var classWeights: [Double]?

  public init(kind: Kind = .crossEntropy, classWeights: [Double]? = nil) {
    self.kind = kind
    self.classWeights = classWeights
  }

  /// - Parameters:
  ///   - logits: [N, K or 1, H, W].
  ///   - labels: classes [N, H, W], int64; `SegmentationDataset.ignoredClass` does not count.
  ///   - weights: [N, H, W] from a border weight map, or nil.
  ///   - hasIgnored: whether labels may hold the ignored class.
  public func callAsFunction(_ logits: Tensor, labels: Tensor, weights: Tensor?, hasIgnored: Bool) throws
    -> Tensor
  {
    let logits = try logits.to(dtype: logits.dtype.accumulation)
    var weights = weights
    var labels = labels
    func weight(by factor: Tensor) throws { weights = try weights.map { try $0 * factor } ?? factor }
    if hasIgnored {
      let counts = try labels .!= Int(SegmentationDataset.ignoredClass)
      labels = try labels * counts
      try weight(by: counts.to(dtype: logits.dtype))
    }
    if let classWeights {
      let table = try Tensor(classWeights, device: logits.device).to(dtype: logits.dtype)
      try weight(by: table.gatheredRows(labels.flattened()).reshaped(labels.shape))
    }
    switch kind {
    case .crossEntropy: return try Losses.crossEntropy(logits, target: labels, weights: weights)
    case .dice: return try Losses.dice(logits, target: labels, weights: weights)
    case .crossEntropyAndDice:
      return try Losses.crossEntropy(logits, target: labels, weights: weights)
        + Losses.dice(logits, target: labels, weights: weights)
    }
  }
}
