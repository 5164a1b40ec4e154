import ArgumentParser
import NormaExchange
import NormaFormats
import NormaModels
import NormaNN
import NormaReport
import NormaTensor

struct ExportCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "export",
    abstract: "Write a trained network for other programs: as ONNX.",
    discussion: """
      The file holds the network in evaluation mode in operator set 21. Its input is 'input' [batch, channels, height, width], \
      for volumes [batch, channels, depth, height, width], in float32, of any batch size and of any extents that the network \
      takes; its output is 'logits'. Images have to be scaled as in training; what the weights' metadata tell about that, the file's tell too. Weights keep the names of the \
      safetensors file, which PyTorch takes as it is.
      """)

  @OptionGroup var model: ModelOptions

  @Option(help: ArgumentHelp("The file to write.", valueName: "path"), completion: .file())
  var onnx: String

  @Flag(
    help: """
      Output probabilities in the place of logits, under the name 'probabilities': the sigmoid of a single channel, else the \
      softmax over the channels.
      """)
  var probabilities = false

  func run() throws {
    try Runtime.check()
    let loaded = try model.load()
    try ToolError.check(output: onnx, isNone: [loaded.path])
    let options = loaded.network.options
    let step = options.extentMultiple
    // The smallest extent is no multiple where convolutions are without padding.
    let shift = options.margin == 0 ? 0 : options.inputExtent(forOutput: 1)
    let axes = Array(["depth", "height", "width"].suffix(options.dimensions))
    let output = probabilities ? "probabilities" : "logits"
    let graph = try loaded.network.onnx(
      input: [.any("batch"), .fixed(options.inputChannels)]
        + axes.map { .any($0, multipleOf: step, plus: shift) }, output: output, name: "unet",
      metadata: loaded.metadata.merging(options.metadata) { $1 }
    ) {
      let logits = try loaded.network($0)
      guard probabilities else { return logits }
      return try options.outputChannels == 1 ? logits.sigmoid() : logits.softmax(1)
    }
    let extents = axes.joined(separator: ", ")
    let bytes = try graph.write(to: onnx)
    print(
      """
      Wrote \(onnx): ONNX of operator set \(ONNX.operatorSet), \(grouped(bytes)) bytes, \(graph.nodes.count) operators, \
      \(options.normalization.name) normalization.
      input  [batch, \(options.inputChannels), \(extents)], \(axes.joined(separator: " and ")) \(options.extentsInWords)
      \(output)  [batch, \(options.outputChannels), \(extents)]\
      \(options.margin > 0 ? ", \(2 * options.margin) less than the input's" : "")
      """)
  }
}
