// Milliseconds of one training step of the U-Net (forward, loss, backward, Adam) under each norm.
// Arguments: width extent batch steps norm… ; peers/unet_step.py measures the same in PyTorch.
import NormaModels
import NormaNN
import NormaNormalization
import NormaTensor
import NormaTraining

let arguments = CommandLine.arguments.dropFirst().map { $0 }
func number(_ index: Int, _ fallback: Int) -> Int {
  index < arguments.count ? Int(arguments[index]) ?? fallback : fallback
}
let (width, extent, batch, steps) = (number(0, 16), number(1, 256), number(2, 1), number(3, 15))
let norms = arguments.count > 4 ? Array(arguments[4...]) : ["none", "batch", "group", "switchable"]

struct Case {
  let name: String
  let model: UNet
  let optimizer: any Optimizer
  var times: [Double] = []
}
let images = try Tensor.normal([batch, 1, extent, extent]).contiguous(.channelsLast)
let targets = try Tensor.bernoulli([batch, 1, extent, extent], probability: 0.78)
var cases = try norms.map { name in
  var options = UNet.Options()
  options.width = width
  options.normalization = try Normalization(parsing: name)
  options.dropout = 0
  options.head = .plain
  let model = try UNet(options, generator: Generator(seed: 0))
  try model.to(memoryFormat: .channelsLast)
  return Case(
    name: name, model: model, optimizer: try OptimizerKind.adam.make(parameters: model.parameters, learningRate: 1e-3))
}
for step in 0..<steps + 2 {
  for index in cases.indices {
    let model = cases[index].model
    let elapsed = try ContinuousClock().measure {
      try model.clearGradients()
      let loss = try model(images).binaryCrossEntropy(target: targets)
      try loss.backward()
      try cases[index].optimizer.step()
    }
    if step >= 2 { cases[index].times.append(elapsed / .milliseconds(1)) }
  }
}
for item in cases {
  let median = item.times.sorted()[item.times.count / 2]
  print("\(item.name): \((median * 10).rounded() / 10) ms")
}
