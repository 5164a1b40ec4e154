import NormaTensor

/// Losses over [N, K, spatial…] logits that PyTorch has no operator for, or that need weights per pixel.
public enum Losses {
  /// Cross-entropy as a weighted mean over pixels: Σ w ℓ / Σ w.
  ///
  /// - Parameters:
  ///   - logits: [N, 1, spatial…] for two classes (sigmoid), [N, K, spatial…] for more (softmax).
  ///   - target: class indices [N, spatial…], int64.
  ///   - weights: [N, spatial…], non-negative; nil for all 1.
  public static func crossEntropy(_ logits: Tensor, target: Tensor, weights: Tensor?) throws -> Tensor {
    let reduction: Reduction = weights == nil ? .mean : .none
    let loss =
      logits.shape[1] == 1
      ? try logits.squeezed(1).binaryCrossEntropy(target: target.to(dtype: logits.dtype), reduction: reduction)
      : try logits.crossEntropy(target: target, reduction: reduction)
    guard let weights else { return loss }
    return try (loss * weights).sum() / weights.sum().clamped(from: 1e-12)
  }

  /// 1 − the soft Dice coefficient, averaged over the classes (the foreground alone for two classes).
  ///
  /// Milletari et al. 2016 (V-Net), eq. in section 3, with sums instead of squares in the denominator.
  /// Shapes as for ``crossEntropy(_:target:weights:)``.
  public static func dice(_ logits: Tensor, target: Tensor, weights: Tensor?) throws -> Tensor {
    let classes = logits.shape[1]
    let space = [0] + Array(2..<logits.rank)
    let probabilities = classes == 1 ? try logits.sigmoid() : try logits.softmax(1)
    let truth =
      classes == 1
      ? try target.unsqueezed(1).to(dtype: logits.dtype)
      : try Tensor.stack(
        (0..<classes).map { try (target .== $0).to(dtype: logits.dtype) }, dimension: 1)
    let weights = try weights?.unsqueezed(1)
    func total(_ tensor: Tensor) throws -> Tensor { try (weights.map { try tensor * $0 } ?? tensor).sum(space) }
    let smoothing = 1.0
    let overlap = try 2 * total(probabilities * truth) + smoothing
    let sizes = try total(probabilities) + total(truth) + smoothing
    return try (1 - overlap / sizes).mean()
  }
}
