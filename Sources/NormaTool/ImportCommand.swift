import ArgumentParser
import NormaExchange
import NormaFormats
import NormaModels
import NormaNN
import NormaNormalization
import NormaReport
import NormaTensor

struct ImportCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "import",
    abstract: "Turn the weights of another program's U-Net into Norma's: from Keras.",
    discussion: """
      PyTorch's weights need no import: give a safetensors file with Norma's keys to --model, with --norm.

      Keras's weights come as a safetensors file that these lines of Python write:

        from safetensors.numpy import save_file
        save_file({w.path: w.numpy() for w in model.weights}, "keras.safetensors")

      The map is a text file with one 'keras layer = module' per line and comments after '#', such as

        conv2d = encoder.0.conv1.conv
        batch_normalization = encoder.0.conv1.norm

      norma describe unet lists the modules. Kernels are transposed, and gamma, beta, moving_mean and moving_variance \
      renamed, as are mean_weights and variance_weights of switchable layers. Keras's batch normalization has an epsilon of \
      1e-3: --norm batch:keras, and so have ports of switchable normalization: --norm switchable:keras.
      """)

  @Argument(help: ArgumentHelp("The safetensors file of Keras's weights.", valueName: "weights"), completion: .file())
  var weights: String

  @Flag(help: "The weights are Keras's.")
  var keras = false

  @Option(help: ArgumentHelp("The file that says which module each layer is.", valueName: "path"), completion: .file())
  var map: String

  @Option(
    name: .shortAndLong, help: ArgumentHelp("The safetensors file to write.", valueName: "path"), completion: .file())
  var output: String

  @Option(
    help: NormHelp.one(default: "batch:keras"), completion: NormHelp.names,
    transform: { try Normalization(parsing: $0) })
  var norm = try! Normalization(parsing: "batch:keras")

  @OptionGroup(title: "Network") var network: NetworkOptions

  @Option(help: ArgumentHelp("Channels of the images.", valueName: "channels"))
  var inputChannels = 1

  @Option(help: ArgumentHelp("Classes; two have one output, more have one each.", valueName: "count"))
  var classes = 2

  func validate() throws {
    guard keras else { throw ValidationError("Say where the weights come from: --keras.") }
    for (name, value, range) in [("input-channels", inputChannels, 1...4096), ("classes", classes, 2...64)] {
      guard range.contains(value) else {
        throw ValidationError("--\(name) must be in \(range.lowerBound)…\(range.upperBound), got \(value).")
      }
    }
  }

  func run() throws {
    try Runtime.check()
    try ToolError.check(output: output, isNone: [weights, map])
    let file = try SafetensorsReader(weights)
    let keras: KerasImport
    do { keras = try KerasImport(parsing: TextFile.read(map)) } catch let error as KerasImportError {
      throw ToolError("'\(map)': \(error)")
    }
    let options = network.options(norm, inputChannels: inputChannels, classes: classes)
    let model = try UNet(options, generator: Generator(seed: 0))
    do { try keras.load(file.tensors(), into: model) } catch let error as KerasImportError {
      throw ToolError("'\(weights)': \(error)")
    }
    try model.writeWeights(to: output, metadata: options.metadata)
    print(
      "Wrote \(output): \(keras.map.count) layers, \(grouped(model.totalCount)) values, \(norm.name) normalization.")
  }
}
