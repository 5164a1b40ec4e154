// libtorch's fused optimizer steps: one call updates all parameters in place. Every list has one entry
// per parameter; `steps` are float32 tensors of rank 0 holding the number of the step, from 1.
public enum FusedStep {
  /// Kingma & Ba 2015; with `decoupled` the weight decay of Loshchilov & Hutter 2019 (AdamW).
  public static func adam(
    parameters: [Tensor], gradients: [Tensor], firstMoments: [Tensor], secondMoments: [Tensor],
    steps: [Tensor], learningRate: Double, beta1: Double, beta2: Double, weightDecay: Double,
    epsilon: Double, decoupled: Bool
  ) throws {
    let op = decoupled ? Op.fusedAdamW : Op.fusedAdam
    try op.run(
      .tensors(parameters), .tensors(gradients), .tensors(firstMoments), .tensors(secondMoments),
      .tensors([]), .tensors(steps), .double(learningRate), .double(beta1), .double(beta2),
      .double(weightDecay), .double(epsilon), false, false)
  }

  /// Gradient descent with momentum (Sutskever et al. 2013 for the Nesterov form).
  public static func sgd(
    parameters: [Tensor], gradients: [Tensor], momentumBuffers: [Tensor], learningRate: Double,
    momentum: Double, weightDecay: Double, nesterov: Bool, isFirstStep: Bool
  ) throws {
    try Op.fusedSGD.run(
      .tensors(parameters), .tensors(gradients), .tensors(momentumBuffers), .double(weightDecay),
      .double(momentum), .double(learningRate), 0.0, .bool(nesterov), false, .bool(isFirstStep))
  }

  /// Duchi et al. 2011.
  public static func adagrad(
    parameters: [Tensor], gradients: [Tensor], sums: [Tensor], steps: [Tensor], learningRate: Double,
    weightDecay: Double, epsilon: Double
  ) throws {
    try Op.fusedAdagrad.run(
      .tensors(parameters), .tensors(gradients), .tensors(sums), .tensors(steps), .double(learningRate),
      0.0, .double(weightDecay), .double(epsilon), false)
  }
}

extension Op {
  static let fusedAdam = Operator("aten::_fused_adam_")
  static let fusedAdamW = Operator("aten::_fused_adamw_")
  static let fusedSGD = Operator("aten::_fused_sgd_")
  static let fusedAdagrad = Operator("aten::_fused_adagrad_")
}
